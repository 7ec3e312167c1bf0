// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/module_implementation.h"
#include "core/attention/weights.h"
#include "core/engine/compute_path.h"

namespace attention {

// core/module: modules that are served, by name, and their lives. What may be
// asked of a module is asked here. Uses core/engine and core/reference.

/// A served module: a name, a version, a configuration and its weights,
/// prepared for computing.
///
/// Immutable; shared by everyone who computes with it, and freed when the last
/// of them is done. Thread-safe.
class AttentionModule {
 public:
  /// What Create needs beside the weights.
  struct Identity {
    std::string name;
    std::uint64_t version = 0;
    std::string weights_digest;  ///< SHA-256 in hex, of the parameters
  };

  /// Prepare a module.
  /// \param path what to compute queries other than float64 with.
  /// \return INVALID_ARGUMENT when the config is not valid, FAILED_PRECONDITION
  ///   when the machine lacks the path, INTERNAL when oneDNN fails.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const AttentionModule>>
  Create(Identity identity, const ModuleConfig& config, ModuleWeights weights,
         PathChoice path = PathChoice::kAuto);

  [[nodiscard]] const std::string& name() const { return identity_.name; }
  [[nodiscard]] std::uint64_t version() const { return identity_.version; }
  [[nodiscard]] const std::string& weights_digest() const {
    return identity_.weights_digest;
  }
  [[nodiscard]] const ModuleConfig& config() const { return config_; }
  [[nodiscard]] DataType weights_dtype() const { return weights_dtype_; }

  /// The implementation for a query of this dtype: the reference for float64
  /// queries and float64 modules, packed layers otherwise. A float64 query to
  /// another module is computed from the weights as these layers hold them,
  /// which is exact unless they compute in bfloat16 what is stored as more.
  [[nodiscard]] const ModuleImplementation& implementation(
      DataType query_dtype) const;
  /// Memory held, in bytes.
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  AttentionModule() = default;

  Identity identity_;
  ModuleConfig config_;
  DataType weights_dtype_ = DataType::kFloat32;
  std::unique_ptr<ModuleImplementation> reference_;
  /// Null for float64 weights; else what the reference takes its weights from.
  std::shared_ptr<const ModuleImplementation> layers_;
};

}  // namespace attention
