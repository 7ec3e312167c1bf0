// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/listener.h"

#include <grpc/impl/codegen/grpc_types.h>
#include <grpcpp/security/server_credentials.h>
#include <sys/stat.h>

#include <chrono>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "server/rpc/listen_address.h"
#include "server/rpc/timeouts.h"

namespace attention {
namespace {

using std::chrono::milliseconds;

// A peer that has not finished its HTTP/2 preface by then is cut off.
constexpr milliseconds kHandshakeTimeout = std::chrono::seconds(10);
// Finds clients that vanished, so that their requests are dropped.
constexpr milliseconds kKeepaliveTime = std::chrono::minutes(1);
constexpr milliseconds kKeepaliveTimeout = std::chrono::seconds(20);
// Clients may ping this often; a flood ends the connection.
constexpr milliseconds kMinPingInterval = std::chrono::seconds(10);
constexpr int kMaxMetadataBytes = 16 << 10;
// What RFC 9113, 6.5.2 recommends at least.
constexpr int kMaxStreamsPerConnection = 100;

// Only the owner may connect to a socket file made while this lives. The mask
// is the process's: nothing else may create files meanwhile.
class PrivateFileMode {
 public:
  PrivateFileMode() : previous_(umask(0177)) {}
  ~PrivateFileMode() { umask(previous_); }
  PrivateFileMode(const PrivateFileMode&) = delete;
  PrivateFileMode& operator=(const PrivateFileMode&) = delete;

 private:
  const mode_t previous_;
};

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
  // Else two servers can share a port without noticing.
  set(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartListening(
    grpc::ServerBuilder* builder, std::vector<std::string>* addresses) {
  std::vector<int> ports(addresses->size(), 0);
  for (std::size_t i = 0; i < addresses->size(); ++i) {
    const std::string& address = (*addresses)[i];
    ATTENTION_RETURN_IF_ERROR(ValidateListenAddress(address));
    if (const std::optional<std::string> path = UnixSocketPath(address)) {
      ATTENTION_RETURN_IF_ERROR(ClearStaleSocket(*path));
    }
    builder->AddListeningPort(address, grpc::InsecureServerCredentials(),
                              &ports[i]);
  }
  std::unique_ptr<grpc::Server> server;
  {
    const PrivateFileMode owner_only;
    server = builder->BuildAndStart();
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (server == nullptr && ports[i] == 0) {
      return absl::UnavailableError(FormatText(
          "cannot listen on {}: in use, not an address of this machine, or not "
          "permitted",
          (*addresses)[i]));
    }
    (*addresses)[i] = WithPort((*addresses)[i], ports[i]);
  }
  if (server == nullptr) return absl::InternalError("cannot start gRPC");
  return server;
}

}  // namespace attention
