// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/attention/config.h"
#include "core/attention/weights.h"
#include "core/tensor/data_type.h"

namespace attention {

/// Where a module stands in its life on a server:
/// kAvailable → kLoading → kReady → kUnloading → (gone);
/// kLoading → kFailed → kLoading.
enum class ModuleState : std::uint8_t {
  kUnknown,    ///< one that this program does not know
  kAvailable,  ///< in the repository, not served
  kLoading,    ///< its first load is under way
  kReady,      ///< served, also while a replacement is loading
  kUnloading,  ///< no longer served; requests in flight still hold it
  kFailed,     ///< not served, because the last load failed
};

/// What a server says about a module.
struct ModuleDescription {
  using State = ModuleState;

  /// The state's name in lower case, such as "ready".
  [[nodiscard]] std::string_view state_name() const;

  std::string name;
  State state = State::kUnknown;
  std::uint64_t version = 0;  ///< 0 when not served
  /// Unset when not served, or when this program does not know its kind or
  /// another value in it.
  std::optional<ModuleConfig> config;
  std::optional<DataType> weights_dtype;
  /// What it is really computed in; float64 queries always in float64.
  std::optional<DataType> compute_dtype;
  std::string implementation;
  std::uint64_t memory_bytes = 0;
  std::string weights_digest;  ///< SHA-256 in hex
  std::string error;           ///< why the last load failed
};

/// What an upload sends beside the weights.
struct UploadOptions {
  std::string name;      ///< under which the module is served
  ModuleConfig config;   ///< must fit the weights
  bool replace = false;  ///< a module of this name may be replaced
  bool persist = false;  ///< also write it to the server's repository
  WeightSource source;   ///< where in the file the weights are
};

}  // namespace attention
