// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/server_state.h"

namespace attention {

absl::Status CheckServing(const SharedServerState& state) {
  switch (state.load()) {
    case ServerState::kServing:
      return absl::OkStatus();
    case ServerState::kCreated:
    case ServerState::kStarting:
      return absl::UnavailableError("the server is starting");
    case ServerState::kDraining:
    case ServerState::kStopped:
      break;
  }
  return absl::UnavailableError("the server is shutting down");
}

}  // namespace attention
