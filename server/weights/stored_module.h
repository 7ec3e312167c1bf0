// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/weights.h"
#include "core/safetensors/safetensors.h"

namespace attention {

// The room `server/weights`: a module's parameters out of the bytes of a
// safetensors file, and the digest that names them. A room of its own below
// `repository`, because a file of the repository and one that was uploaded
// become a module in the same way. Enters: anything between those bytes and
// ModuleWeights. Uses core/attention, core/safetensors and, alone, OpenSSL.

/// A module as read from a file: all that serving it needs.
struct StoredModule {
  ModuleConfig config;
  ModuleWeights weights;
  std::string weights_digest;  ///< see WeightsDigest
};

/// Find a module's tensors in a file.
/// \return as SelectWeights, and INVALID_ARGUMENT for a tensor of a dtype there
///   is none of inside the prefix that is not ignored.
/// Throws std::bad_alloc. Lifetime: borrows what `file` borrows. Thread-safe.
[[nodiscard]] absl::StatusOr<SelectedWeights> SelectModule(
    const SafetensorsView& file, const ModuleConfig& config,
    const WeightSource& source);

/// Copy a module's parameters out of a file.
///
/// \param source says where in the file they are.
/// \return INVALID_ARGUMENT when the config is not valid or the tensors are not
///   the module's, RESOURCE_EXHAUSTED when memory is exhausted.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<StoredModule> ReadModule(
    const SafetensorsView& file, const ModuleConfig& config,
    const WeightSource& source = {});

}  // namespace attention
