// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/rpc_method.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "attention/v1/module_service.grpc.pb.h"
#include "client/cpp/attention_client.h"

namespace attention {

/// One channel, its stubs, and what every call over it has in common.
/// Immutable; stubs are thread-safe, so it is too.
///
/// Its last owner may be a call that ends, or memory that was sent, which a
/// thread of gRPC's lets go of. The last channel of a process that is destroyed
/// there would wait for that very thread, so another one then destroys it: see
/// Callback.
class AttentionClient::Connection {
 public:
  [[nodiscard]] static std::shared_ptr<const Connection> Make(
      std::shared_ptr<grpc::ChannelInterface> channel, std::string target,
      const ClientOptions& options);
  Connection(std::shared_ptr<grpc::ChannelInterface> channel,
             std::string target, const ClientOptions& options);
  ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Lives while a thread of gRPC's may let go of a connection. A call's
  /// context, which shares the channel, goes before the connection.
  class Callback {
   public:
    Callback();
    ~Callback();
    Callback(const Callback&) = delete;
    Callback& operator=(const Callback&) = delete;
  };

  /// Share an owner of memory that gRPC is to let go of, and which may own a
  /// client.
  [[nodiscard]] static std::shared_ptr<const void> LetGoOf(
      std::shared_ptr<const void> owner);

  static constexpr char kForwardMethod[] =
      "/attention.v1.AttentionService/Forward";
  static constexpr char kForwardStreamMethod[] =
      "/attention.v1.AttentionService/ForwardStream";

  /// Call Forward with a message as it is, and wait.
  [[nodiscard]] grpc::Status Forward(grpc::ClientContext& context,
                                     const grpc::ByteBuffer& request,
                                     grpc::ByteBuffer* response) const;
  [[nodiscard]] v1::ModuleService::Stub& modules() const { return *modules_; }
  [[nodiscard]] grpc::GenericStub& generic() const { return *generic_; }

  /// Give a call its deadline.
  void Prepare(grpc::ClientContext& context) const;

  /// Longest message that is accepted.
  [[nodiscard]] std::size_t max_receive_bytes() const {
    return static_cast<std::size_t>(options_.max_receive_bytes);
  }

  /// Convert the status of a call, adding what the caller can do about it.
  [[nodiscard]] absl::Status ToStatus(const grpc::Status& status) const {
    return ToStatus(status, options_.timeout);
  }
  /// The same of a call with another timeout than the client's.
  [[nodiscard]] absl::Status ToStatus(
      const grpc::Status& status,
      std::optional<std::chrono::milliseconds> timeout) const;

 private:
  static void Destroy(const Connection* connection);

  std::shared_ptr<grpc::ChannelInterface> channel_;
  grpc::internal::RpcMethod forward_method_;
  std::unique_ptr<v1::ModuleService::Stub> modules_;
  std::unique_ptr<grpc::GenericStub> generic_;
  std::string target_;
  ClientOptions options_;
};

}  // namespace attention
