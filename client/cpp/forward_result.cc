// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/forward_result.h"

#include <grpcpp/support/byte_buffer.h>

#include <utility>

#include "core/tensor/status_macros.h"
#include "proto/wire/request_slices.h"

namespace attention {

absl::StatusOr<ForwardResult> ForwardResult::Parse(
    const grpc::ByteBuffer& message, const AttentionOutputs* into) {
  ATTENTION_ASSIGN_OR_RETURN(std::shared_ptr<const ParsedAnswer> answer,
                             ParseAnswer(message, into));
  return ForwardResult(std::move(answer));
}

const TensorView& ForwardResult::output() const { return answer_->output; }

const std::optional<TensorView>& ForwardResult::weights() const {
  return answer_->weights;
}

std::uint64_t ForwardResult::module_version() const {
  return answer_->fields.module_version();
}

std::uint32_t ForwardResult::batch_size() const {
  return answer_->fields.batch_size();
}

ServerTiming ForwardResult::timing() const {
  const v1::Timing& timing = answer_->fields.timing();
  return {std::chrono::nanoseconds(timing.decode_time_ns()),
          std::chrono::nanoseconds(timing.queue_time_ns()),
          std::chrono::nanoseconds(timing.compute_time_ns()),
          std::chrono::nanoseconds(timing.total_time_ns())};
}

std::size_t PreparedForward::num_bytes() const { return bytes_->Length(); }

absl::StatusOr<ForwardResult> ForwardReply::Decode() const {
  return ForwardResult::Parse(*bytes_);
}

absl::StatusOr<ForwardResult> ForwardReply::DecodeInto(
    const AttentionOutputs& outputs) const {
  return ForwardResult::Parse(*bytes_, &outputs);
}

}  // namespace attention
