// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/listener.h"

#include <grpc/impl/codegen/grpc_types.h>
#include <grpcpp/security/server_credentials.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "core/tensor/status_macros.h"
#include "server/net/listening_socket.h"
#include "server/rpc/timeouts.h"

namespace attention {
namespace {

using std::chrono::milliseconds;

// A peer that has not finished its HTTP/2 preface by then is cut off.
constexpr milliseconds kHandshakeTimeout = std::chrono::seconds(10);
// Finds clients that vanished, so that their requests are dropped.
constexpr milliseconds kKeepaliveTime = std::chrono::minutes(1);
constexpr milliseconds kKeepaliveTimeout = std::chrono::seconds(20);
// Ends a connection whose peer acknowledges nothing of what is sent to it
// (TCP_USER_TIMEOUT, which gRPC sets on its own listening sockets only).
constexpr milliseconds kUnacknowledgedTimeout = std::chrono::seconds(30);
// Clients may ping this often; a flood ends the connection.
constexpr milliseconds kMinPingInterval = std::chrono::seconds(10);
constexpr int kMaxMetadataBytes = 16 << 10;
// What RFC 9113, 6.5.2 recommends at least.
constexpr int kMaxStreamsPerConnection = 100;

}  // namespace

void SetListenerArguments(std::size_t max_message_bytes,
                          grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(max_message_bytes));
  const auto set = [builder](const char* name, auto value) {
    builder->AddChannelArgument(name, static_cast<int>(value));
  };
  // Identity only: a small compressed message may inflate to anything before
  // the limit above is applied.
  set(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeout.count());
  set(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  // Bounds what one connection can build up (rapid reset, header floods).
  set(GRPC_ARG_MAX_CONNECTION_AGE_MS, milliseconds(kMaxConnectionAge).count());
  set(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
      milliseconds(kMaxConnectionAgeGrace).count());
  set(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTime.count());
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeout.count());
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinPingInterval.count());
}

absl::StatusOr<Listening> StartListening(ListenerOptions options,
                                         grpc::ServerBuilder* builder,
                                         std::vector<std::string>* addresses) {
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;
  using External = grpc::ServerBuilder::experimental_type;
  std::vector<ListeningSocket> sockets;
  for (std::string& address : *addresses) {
    ATTENTION_ASSIGN_OR_RETURN(std::vector<ListeningSocket> added,
                               ListenOn(kUnacknowledgedTimeout, &address));
    std::ranges::move(added, std::back_inserter(sockets));
  }
  const std::shared_ptr<Acceptor> acceptor =
      builder->experimental().AddExternalConnectionAcceptor(
          External::ExternalConnectionType::FROM_FD,
          grpc::InsecureServerCredentials());
  Listening listening;
  listening.server = builder->BuildAndStart();
  if (listening.server == nullptr) {
    return absl::InternalError("cannot start gRPC");
  }
  ATTENTION_ASSIGN_OR_RETURN(
      listening.accept_loop,
      AcceptLoop::Create(std::move(sockets), options.connections,
                         {.hand_over =
                              [acceptor](int listening_socket, int connection) {
                                Acceptor::NewConnectionParameters parameters;
                                parameters.listener_fd = listening_socket;
                                parameters.fd = connection;
                                acceptor->HandleNewConnection(&parameters);
                              },
                          .on_failure = std::move(options.on_failure)}));
  return listening;
}

}  // namespace attention
