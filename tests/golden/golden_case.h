// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/attention/config.h"
#include "core/attention/request.h"
#include "core/attention/weights.h"
#include "core/tensor/tensor.h"

namespace attention {

/// How to make a mask.
struct MaskSpec {
  enum class Kind : std::uint8_t { kUpperTriangular, kBool, kFloat };

  Shape shape;
  Kind kind = Kind::kBool;
  /// Rows of the last dimension to be masked entirely.
  std::vector<std::int64_t> masked_rows;
};

/// One entry of cases.json: a module and the inputs of one forward pass.
struct GoldenCase {
  std::string name;
  std::uint64_t seed = 0;  ///< place in the file
  bool is_demo = false;    ///< whether the demo shows it
  MultiHeadAttentionConfig config;
  std::map<std::string, Shape, std::less<>> shapes;    ///< query, key, value
  std::map<std::string, MaskSpec, std::less<>> masks;  ///< by field name
  bool is_causal = false;
  bool need_weights = true;
  bool average_attn_weights = true;

  /// dtype of weights and inputs.
  [[nodiscard]] DataType dtype() const {
    return config.dtype.value_or(DataType::kFloat32);
  }
};

/// Tensors that own their elements, by name.
using OwnedTensors = std::map<std::string, Tensor, std::less<>>;

/// Read tests/golden/cases.json. Throws std::exception when it is not as
/// expected.
[[nodiscard]] std::vector<GoldenCase> LoadGoldenCases();

/// Return the path of the answer PyTorch gave to a case.
[[nodiscard]] std::string GoldenAnswerPath(std::string_view case_name);

/// Make the module's weights under their state_dict names.
///
/// The tensor called NAME is stream FNV-1a-32(NAME) of the case's seed.
/// tests/pytorch/golden_cases.py makes the same tensors in Python.
[[nodiscard]] OwnedTensors MakeGoldenWeights(const GoldenCase& golden_case);

/// Make the case's query, key, value, attn_mask and key_padding_mask, as far as
/// it has them.
[[nodiscard]] OwnedTensors MakeGoldenInputs(const GoldenCase& golden_case);

/// View tensors by name. Lifetime: borrows from `tensors`.
[[nodiscard]] NamedTensors ViewOf(const OwnedTensors& tensors);

/// View inputs with the case's flags. Lifetime: borrows from `tensors`.
[[nodiscard]] AttentionInputs GoldenRequest(const GoldenCase& golden_case,
                                            const OwnedTensors& tensors);

}  // namespace attention
