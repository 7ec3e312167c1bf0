// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/net/accept_loop.h"

namespace attention {

/// Set what every connection needs against hostile clients.
void SetListenerArguments(std::size_t max_message_bytes,
                          grpc::ServerBuilder* builder);

/// What listening needs to know.
struct ListenerOptions {
  /// Gets those that are accepted; borrowed by the loop.
  OpenConnections& connections;
  /// Told, on a thread of its own, that no connections are accepted any more
  /// though nobody asked for it.
  std::function<void(std::string_view why)> on_failure;
};

/// A server that answers, and what brings it connections: to be stopped before
/// the server is shut down, which takes charge of none after that.
struct Listening {
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<AcceptLoop> accept_loop;
};

/// Listen on all addresses and start answering.
///
/// The sockets are ours: gRPC's own listeners stop accepting for ever once
/// there is no descriptor for a connection.
/// \param addresses get the chosen ports in place of port 0.
/// \return an error naming the address that cannot be listened on.
[[nodiscard]] absl::StatusOr<Listening> StartListening(
    ListenerOptions options, grpc::ServerBuilder* builder,
    std::vector<std::string>* addresses);

}  // namespace attention
