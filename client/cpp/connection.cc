// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/connection.h"

#include <format>
#include <utility>

#include "core/tensor/status_text.h"
#include "proto/wire/status_codec.h"

namespace attention {

AttentionClient::Connection::Connection(
    std::shared_ptr<grpc::ChannelInterface> channel, std::string target,
    const ClientOptions& options)
    : attention_(v1::AttentionService::NewStub(channel)),
      modules_(v1::ModuleService::NewStub(channel)),
      generic_(std::make_unique<grpc::GenericStub>(channel)),
      target_(std::move(target)),
      options_(options) {}

void AttentionClient::Connection::Prepare(grpc::ClientContext& context) const {
  if (options_.timeout) {
    context.set_deadline(std::chrono::system_clock::now() + *options_.timeout);
  }
}

absl::Status AttentionClient::Connection::ToStatus(
    const grpc::Status& status) const {
  absl::Status result = FromGrpcStatus(status);
  switch (result.code()) {
    case absl::StatusCode::kUnavailable:
      return absl::UnavailableError(std::format(
          "{}; is the server running at {}, and neither loading nor draining?",
          StatusText(result), target_));
    case absl::StatusCode::kDeadlineExceeded:
      if (!options_.timeout) return result;
      return absl::DeadlineExceededError(std::format(
          "{}; allow more than the timeout of {}, or send less at a time",
          StatusText(result), *options_.timeout));
    case absl::StatusCode::kUnimplemented:
      return absl::UnimplementedError(std::format(
          "{}; is the server at {} an attention server of this version?",
          StatusText(result), target_));
    default:
      return result;
  }
}

}  // namespace attention
