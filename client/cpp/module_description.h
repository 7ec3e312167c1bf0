// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/attention/config.h"
#include "core/tensor/data_type.h"

namespace attention {

namespace v1 {
class ModuleInfo;
}  // namespace v1

/// What the server says about a module.
struct ModuleDescription {
  /// Where a module stands in its life on the server:
  /// kAvailable -> kLoading -> kReady -> kUnloading; any -> kFailed.
  enum class State : std::uint8_t {
    kUnknown,    ///< a state this client does not know
    kAvailable,  ///< in the repository, not served
    kLoading,
    kReady,
    kUnloading,
    kFailed,
  };

  /// Convert the message; what is absent or unknown in it is unset.
  [[nodiscard]] static ModuleDescription FromMessage(
      const v1::ModuleInfo& message);
  /// The state's name in lower case, such as "ready".
  [[nodiscard]] std::string_view state_name() const;

  std::string name;
  State state = State::kUnknown;
  std::uint64_t version = 0;  ///< 0 when not served
  /// Unset when not served, or when this client does not know its kind or
  /// another value in it.
  std::optional<ModuleConfig> config;
  std::optional<DataType> weights_dtype;
  /// What it is really computed in; float64 queries always in float64.
  std::optional<DataType> compute_dtype;
  std::string implementation;
  std::uint64_t memory_bytes = 0;
  std::string weights_digest;  ///< SHA-256 in hex
  std::string error;           ///< why it failed, when kFailed
};

}  // namespace attention
