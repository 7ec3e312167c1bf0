// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/rpc_method.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "attention/v1/module_service.grpc.pb.h"
#include "client/cpp/attention_client.h"

namespace attention {

/// One channel, its stubs, and what every call over it has in common.
/// Immutable; stubs are thread-safe, so it is too.
class AttentionClient::Connection {
 public:
  Connection(std::shared_ptr<grpc::ChannelInterface> channel,
             std::string target, const ClientOptions& options);
  ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  static constexpr char kForwardMethod[] =
      "/attention.v1.AttentionService/Forward";

  /// Call Forward with a message as it is, and wait.
  [[nodiscard]] grpc::Status Forward(grpc::ClientContext& context,
                                     const grpc::ByteBuffer& request,
                                     grpc::ByteBuffer* response) const;
  [[nodiscard]] v1::ModuleService::Stub& modules() const { return *modules_; }
  [[nodiscard]] grpc::GenericStub& generic() const { return *generic_; }

  /// Give a call its deadline.
  void Prepare(grpc::ClientContext& context) const;

  /// Convert the status of a call, adding what the caller can do about it.
  [[nodiscard]] absl::Status ToStatus(const grpc::Status& status) const;

 private:
  std::shared_ptr<grpc::ChannelInterface> channel_;
  grpc::internal::RpcMethod forward_method_;
  std::unique_ptr<v1::ModuleService::Stub> modules_;
  std::unique_ptr<grpc::GenericStub> generic_;
  std::string target_;
  ClientOptions options_;
};

}  // namespace attention
