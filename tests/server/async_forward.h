// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>

#include <future>
#include <utility>

#include "attention/v1/attention_service.grpc.pb.h"

namespace attention::testing {

/// A unary call under way. Lives until its outcome is there.
struct AsyncForward {
  AsyncForward(v1::AttentionService::Stub& stub, v1::ForwardRequest message)
      : request(std::move(message)) {
    stub.async()->Forward(
        &context, &request, &response,
        [this](const grpc::Status& status) { outcome.set_value(status); });
  }
  [[nodiscard]] grpc::Status Wait() { return outcome.get_future().get(); }

  grpc::ClientContext context;
  v1::ForwardRequest request;
  v1::ForwardResponse response;
  std::promise<grpc::Status> outcome;
};

}  // namespace attention::testing
