// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/forward_result.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include <utility>

#include "absl/status/status.h"
#include "attention/v1/attention_service.pb.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

absl::StatusOr<TensorView> View(const v1::Tensor& message,
                                std::string_view field) {
  absl::StatusOr<TensorView> view = DecodeTensor(message, field);
  if (view.ok()) return view;
  return absl::InternalError(FormatText("malformed answer from the server: {}",
                                        StatusText(view.status())));
}

}  // namespace

absl::StatusOr<ForwardResult> ForwardResult::Create(
    std::shared_ptr<const v1::ForwardResponse> response) {
  ForwardResult result;
  absl::StatusOr<TensorView> output = View(response->output(), "output");
  if (!output.ok()) return std::move(output).status();
  result.output_ = *std::move(output);
  if (response->has_weights()) {
    absl::StatusOr<TensorView> weights = View(response->weights(), "weights");
    if (!weights.ok()) return std::move(weights).status();
    result.weights_ = *std::move(weights);
  }
  result.response_ = std::move(response);
  return result;
}

std::uint64_t ForwardResult::module_version() const {
  return response_->module_version();
}

std::uint32_t ForwardResult::batch_size() const {
  return response_->batch_size();
}

ServerTiming ForwardResult::timing() const {
  const v1::Timing& timing = response_->timing();
  return {std::chrono::nanoseconds(timing.decode_time_ns()),
          std::chrono::nanoseconds(timing.queue_time_ns()),
          std::chrono::nanoseconds(timing.compute_time_ns())};
}

std::size_t PreparedForward::num_bytes() const { return bytes_->Length(); }

absl::StatusOr<ForwardResult> ForwardReply::Decode() const {
  auto response = std::make_shared<v1::ForwardResponse>();
  // Deserialising consumes a buffer; a copy shares the slices.
  grpc::ByteBuffer bytes(*bytes_);
  const grpc::Status parsed =
      grpc::SerializationTraits<v1::ForwardResponse>::Deserialize(
          &bytes, response.get());
  if (!parsed.ok()) {
    return absl::InternalError(
        "malformed answer from the server: not a ForwardResponse");
  }
  return ForwardResult::Create(std::move(response));
}

}  // namespace attention
