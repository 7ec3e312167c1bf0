// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace attention {

/// kCreated → kStarting → kServing → kDraining → kStopped.
enum class ServerState : std::uint8_t {
  kCreated,
  kStarting,  ///< listening, loading the modules to serve
  kServing,
  kDraining,  ///< finishing what is in flight
  kStopped,
};

/// The state, written by the server, read by its services.
using SharedServerState = std::atomic<ServerState>;

/// Return UNAVAILABLE unless requests are to be served. Thread-safe.
[[nodiscard]] absl::Status CheckServing(const SharedServerState& state);

}  // namespace attention
