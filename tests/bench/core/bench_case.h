// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/module_implementation.h"
#include "core/attention/request.h"
#include "core/attention/weights.h"
#include "core/engine/compute_path.h"
#include "core/parallel/compute_pool.h"
#include "core/tensor/tensor.h"

namespace attention::bench {

/// What to compute, as the driver says it (cases.py has the same fields).
struct CaseSpec {
  bool projected = true;  ///< false: attention alone, without weights
  std::int64_t batch_size = 0;
  std::int64_t query_length = 0;
  std::int64_t key_length = 0;
  std::int64_t embed_dim = 0;
  std::int64_t num_heads = 0;
  DataType dtype = DataType::kFloat32;  ///< of weights, tensors and matmuls
  std::int64_t num_layers = 0;          ///< of an encoder; 0: attention
  std::int64_t feed_forward = 0;        ///< width inside its layers
  Activation activation = Activation::kRelu;
  bool cross = false;  ///< key is not query; value is key
  bool causal = false;
  bool padded = false;  ///< there is a key padding mask
  bool need_weights = false;
  bool average_weights = false;
  PathChoice path = PathChoice::kAuto;  ///< the worker's, for all cases
};

/// Read the fields. Throws nlohmann::json::exception.
[[nodiscard]] CaseSpec ParseCaseSpec(const nlohmann::json& json);

/// Make `dtype` of a dtype's name, float32 or bfloat16; throws
/// std::invalid_argument.
[[nodiscard]] DataType ParseDataType(std::string_view name);

/// A module with its request and answer, ready to be computed again and again.
/// Not thread-safe.
class BenchCase {
 public:
  /// Read weights and inputs from the raw little-endian files in `folder`:
  /// query.f32, key.f32 (cross), key_padding.u8 (padded), and one
  /// TENSOR_NAME.f32 for each weight (projected).
  /// \return the core's errors. Throws std::runtime_error when a file is
  ///   missing or has another size.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<BenchCase>> Load(
      const CaseSpec& spec, const std::string& folder);
  /// Make reproducible uniform weights and inputs instead.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<BenchCase>> Random(
      const CaseSpec& spec);
  /// Make another request for the same module, with query rows of its own.
  /// \param like must outlive what is made.
  [[nodiscard]] static std::unique_ptr<BenchCase> Random(const CaseSpec& spec,
                                                         const BenchCase& like);

  /// Resolve the request and compute it, as a server does for each request.
  [[nodiscard]] absl::Status Forward(ComputePool& pool);

  /// Write the answer as output.f32 and, if wanted, weights.f32.
  void WriteAnswer(const std::string& folder) const;

  [[nodiscard]] const ModuleImplementation& implementation() const {
    return *implementation_;
  }

 private:
  explicit BenchCase(const CaseSpec& spec);
  [[nodiscard]] absl::Status MakeImplementation(const NamedTensors& weights);
  void MakeAnswer();

  CaseSpec spec_;
  ModuleConfig config_;
  std::unique_ptr<ModuleImplementation> owned_;
  const ModuleImplementation* implementation_ = nullptr;
  Tensor query_;
  std::optional<Tensor> key_;
  std::optional<Tensor> key_padding_;
  Tensor output_;
  std::optional<Tensor> weights_;
};

}  // namespace attention::bench
