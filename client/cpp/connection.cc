// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/connection.h"

#include <grpcpp/impl/client_unary_call.h>

#include <cstddef>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"
#include "proto/wire/status_codec.h"

namespace attention {
namespace {

// Callbacks that this thread is in.
thread_local int num_callbacks = 0;

}  // namespace

AttentionClient::Connection::Callback::Callback() { ++num_callbacks; }

AttentionClient::Connection::Callback::~Callback() { --num_callbacks; }

std::shared_ptr<const void> AttentionClient::Connection::LetGoOf(
    std::shared_ptr<const void> owner) {
  const void* const memory = owner.get();
  return {memory, [owner = std::move(owner)](const void*) mutable {
            const Callback callback;
            owner.reset();
          }};
}

std::shared_ptr<const AttentionClient::Connection>
AttentionClient::Connection::Make(
    std::shared_ptr<grpc::ChannelInterface> channel, std::string target,
    const ClientOptions& options) {
  return {new Connection(std::move(channel), std::move(target), options),
          &Connection::Destroy};
}

void AttentionClient::Connection::Destroy(const Connection* connection) {
  if (num_callbacks == 0) {
    delete connection;
    return;
  }
  try {
    std::thread([connection] { delete connection; }).detach();
  } catch (const std::system_error&) {
    // There is no thread for it, nor will the process miss what it holds.
  }
}

AttentionClient::Connection::Connection(
    std::shared_ptr<grpc::ChannelInterface> channel, std::string target,
    const ClientOptions& options)
    : channel_(channel),
      forward_method_(kForwardMethod, grpc::internal::RpcMethod::NORMAL_RPC,
                      channel),
      modules_(v1::ModuleService::NewStub(channel)),
      generic_(std::make_unique<grpc::GenericStub>(channel)),
      target_(std::move(target)),
      options_(options) {}

// What a stub generated for messages of bytes would do.
grpc::Status AttentionClient::Connection::Forward(
    grpc::ClientContext& context, const grpc::ByteBuffer& request,
    grpc::ByteBuffer* response) const {
  return grpc::internal::BlockingUnaryCall(channel_.get(), forward_method_,
                                           &context, request, response);
}

void AttentionClient::Connection::Prepare(grpc::ClientContext& context) const {
  if (options_.timeout) {
    context.set_deadline(std::chrono::system_clock::now() + *options_.timeout);
  }
}

namespace {

// gRPC's text about a server that cannot be reached, without its own internals:
// what the system said, which comes last.
std::string ConnectionText(std::string_view text) {
  if (!text.starts_with("failed to connect to all addresses")) {
    return std::string(text);
  }
  const std::size_t colon = text.rfind(": ");
  return FormatText("cannot connect{}", colon == std::string_view::npos
                                            ? std::string_view()
                                            : text.substr(colon));
}

}  // namespace

absl::Status AttentionClient::Connection::ToStatus(
    const grpc::Status& status,
    std::optional<std::chrono::milliseconds> timeout) const {
  absl::Status result = FromGrpcStatus(status);
  switch (result.code()) {
    case absl::StatusCode::kUnavailable:
      return absl::UnavailableError(FormatText(
          "{}; is the server running at {}, and neither loading nor draining?",
          ConnectionText(StatusText(result)), target_));
    case absl::StatusCode::kResourceExhausted:
      // By gRPC itself, before the server's code sees the message.
      if (StatusText(result).find("message larger than max") ==
          std::string_view::npos) {
        return result;
      }
      return absl::ResourceExhaustedError(FormatText(
          "{}; send less at a time, or raise the server's --max-message-bytes",
          StatusText(result)));
    case absl::StatusCode::kDeadlineExceeded:
      if (!timeout) return result;
      return absl::DeadlineExceededError(FormatText(
          "{}; allow more than the timeout of {}, or send less at a time",
          StatusText(result), *timeout));
    case absl::StatusCode::kUnimplemented:
      return absl::UnimplementedError(FormatText(
          "{}; is the server at {} an attention server of this version?",
          StatusText(result), target_));
    default:
      return result;
  }
}

}  // namespace attention
