// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Tensors by name, such as a state_dict.
using NamedTensors = std::map<std::string, TensorView, std::less<>>;

/// Parameters of y = x W^T + b. weight [out, in], bias [out]. No weight: none.
struct LinearWeights {
  Tensor weight;
  std::optional<Tensor> bias;
};

/// Parameters of attention; which of them there are is the AttentionSpec's to
/// say. E is the width of the projections.
struct AttentionWeights {
  LinearWeights query;           ///< [E, query_dim]
  LinearWeights key;             ///< [E, key_dim]
  LinearWeights value;           ///< [E, value_dim]
  LinearWeights output;          ///< [E, E]
  std::optional<Tensor> bias_k;  ///< [E]
  std::optional<Tensor> bias_v;  ///< [E]
};

/// Parameters of a layer normalisation. weight [E], bias [E].
struct NormWeights {
  Tensor weight;
  std::optional<Tensor> bias;
};

/// Parameters of one layer; those behind attention are an encoder's.
struct LayerWeights {
  AttentionWeights attention;
  LinearWeights linear1;  ///< [F, E]
  LinearWeights linear2;  ///< [E, F]
  NormWeights norm1;
  NormWeights norm2;
};

/// Parameters of a module, one dtype throughout.
struct ModuleWeights {
  std::vector<LayerWeights> layers;
  std::optional<NormWeights> final_norm;
  /// Of a module without parameters: float32.
  DataType dtype = DataType::kFloat32;
  std::size_t num_bytes = 0;  ///< of all tensors
};

/// Where in a set of tensors a module's parameters are, and how they lie.
struct WeightSource {
  /// Put before every name. Tensors outside the prefix are ignored; every
  /// tensor inside it must be the module's.
  std::string prefix = {};
  /// What a run of whole dot-separated components of a name is called instead.
  /// Applied from the left, the longest run first, each component once.
  std::map<std::string, std::string, std::less<>> renamed = {};
  /// Whether matrices are stored (in, out).
  bool transposed = false;

  static constexpr std::size_t kMaxRenamed = 256;
  /// Longest name of a tensor in a file, in bytes.
  static constexpr std::size_t kMaxNameBytes = 1024;
};

/// Name and shape of a tensor.
struct WeightSpec {
  std::string name;
  Shape shape;
};

/// List the tensors of a module of this (valid) config, under its own names.
[[nodiscard]] std::vector<WeightSpec> ExpectedWeights(
    const ModuleConfig& config);

/// List them as they must be where `source` says.
/// \return INVALID_ARGUMENT when the source is not valid: too many names, or
///   empty, too long or ambiguous ones.
[[nodiscard]] absl::StatusOr<std::vector<WeightSpec>> ExpectedWeightsIn(
    const ModuleConfig& config, const WeightSource& source);

/// A module's tensors under its own names and as it has them.
struct SelectedWeights {
  NamedTensors tensors;            ///< views of the file's, or of `transposed`
  std::vector<Tensor> transposed;  ///< those the source has the other way round
};

/// Find a module's tensors among others.
/// \return INVALID_ARGUMENT when the config or the source is not valid, or when
///   a tensor is missing, unexpected, of another shape or not floating.
/// Throws std::bad_alloc. Lifetime: borrows what `tensors` borrows.
[[nodiscard]] absl::StatusOr<SelectedWeights> SelectWeights(
    const ModuleConfig& config, const NamedTensors& tensors,
    const WeightSource& source);

/// Take the module's parameters from tensors, copying them; converted to the
/// config's dtype when that is set.
///
/// \return SelectWeights' errors, and INVALID_ARGUMENT when dtypes differ and
///   the config's is unset, or when the config's compute_dtype is not for
///   theirs. Throws std::bad_alloc.
[[nodiscard]] absl::StatusOr<ModuleWeights> CollectWeights(
    const ModuleConfig& config, const NamedTensors& tensors,
    const WeightSource& source = {});

/// One of a module's tensors, as its file has it: the parameters it is made of,
/// one after the other along the first dimension (in_proj_weight is q, k, v).
struct StoredWeight {
  WeightSpec spec;
  std::vector<const Tensor*> parts;
};

/// List a module's tensors under its own names. Lifetime: borrows `weights`,
/// which must be of this config.
[[nodiscard]] std::vector<StoredWeight> ListWeights(
    const ModuleConfig& config, const ModuleWeights& weights);

}  // namespace attention
