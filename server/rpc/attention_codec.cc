// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/attention_codec.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <utility>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/answer_slices.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/forward_scan.h"
#include "server/rpc/message_bytes.h"

namespace attention {
namespace {

// Enough for 2^16 lengths of queries and as many of keys.
constexpr std::size_t kMaxFieldBytes = std::size_t{4} << 20;
// What a byte beside tensor elements becomes at most when it is parsed: the two
// of an empty unknown field are 16 in an array that may have doubled just now,
// and a string of their own.
constexpr std::size_t kMaxInflation = 40;

// The bytes as they came, the elements copied out of them, and what the other
// fields may grow to.
template <typename Count>
absl::StatusOr<std::size_t> BoundParsing(grpc::ByteBuffer* message,
                                         Count count_element_bytes) {
  if (!message->Valid()) return std::size_t{0};
  grpc::ProtoBufferReader reader(message);
  const std::size_t element_bytes = count_element_bytes(&reader);
  const std::size_t field_bytes = message->Length() - element_bytes;
  if (field_bytes > kMaxFieldBytes) {
    return absl::InvalidArgumentError(FormatText(
        "the message has {} bytes beside tensor elements, expected at most {}",
        field_bytes, kMaxFieldBytes));
  }
  return message->Length() + element_bytes + kMaxInflation * field_bytes;
}

std::uint64_t Nanoseconds(std::chrono::nanoseconds duration) {
  return static_cast<std::uint64_t>(duration.count());
}

}  // namespace

absl::StatusOr<std::size_t> AttentionCodec::ParsingBytes(
    grpc::ByteBuffer* message) {
  return BoundParsing(message, CountRequestElementBytes);
}

absl::StatusOr<std::size_t> AttentionCodec::Parse(grpc::ByteBuffer* message) {
  ATTENTION_RETURN_IF_ERROR(ParseMessage(message, request_.get()));
  return request_->SpaceUsedLong();
}

absl::StatusOr<AttentionInputs> AttentionCodec::Decode() const {
  return DecodeForwardRequest(*request_);
}

std::size_t AttentionCodec::AnswerBytes(const OutputShapes& shapes,
                                        DataType dtype) const {
  return attention::AnswerBytes(shapes, dtype);
}

AttentionOutputs AttentionCodec::AllocateOutputs(const OutputShapes& shapes,
                                                 DataType dtype) {
  return attention::AllocateOutputs(shapes, dtype, &response_);
}

grpc::ByteBuffer AttentionCodec::Serialize(
    const CallRecord& call, const std::shared_ptr<const void>& self) {
  return SerializeAnswer(Finish(call, self));
}

void AttentionCodec::SetRequest(std::unique_ptr<v1::ForwardRequest> request) {
  request_ = request != nullptr ? std::move(request)
                                : std::make_unique<v1::ForwardRequest>();
}

std::shared_ptr<const v1::ForwardResponse> AttentionCodec::Finish(
    const CallRecord& call, const std::shared_ptr<const void>& self) {
  response_.set_module_version(call.module_version);
  response_.set_batch_size(call.times.batch_size);
  v1::Timing& timing = *response_.mutable_timing();
  timing.set_decode_time_ns(Nanoseconds(call.decode));
  timing.set_queue_time_ns(Nanoseconds(call.times.queue));
  timing.set_compute_time_ns(Nanoseconds(call.times.compute));
  return {self, &response_};
}

absl::StatusOr<std::size_t> AttentionStreamCodec::ParsingBytes(
    grpc::ByteBuffer* message) {
  ATTENTION_ASSIGN_OR_RETURN(
      const std::size_t parsing_bytes,
      BoundParsing(message, CountStreamRequestElementBytes));
  if (message->Valid()) {
    grpc::ProtoBufferReader reader(message);
    id_ = ReadStreamRequestId(&reader);
  }
  return parsing_bytes;
}

absl::StatusOr<std::size_t> AttentionStreamCodec::Parse(
    grpc::ByteBuffer* message) {
  v1::ForwardStreamRequest envelope;
  const absl::Status parsed = ParseMessage(message, &envelope);
  if (absl::IsInvalidArgument(parsed)) id_ = 0;  // whatever was read before
  ATTENTION_RETURN_IF_ERROR(parsed);
  id_ = envelope.id();
  const std::size_t parsed_bytes = envelope.SpaceUsedLong();
  SetRequest(std::unique_ptr<v1::ForwardRequest>(envelope.release_request()));
  return parsed_bytes;
}

grpc::ByteBuffer AttentionStreamCodec::Serialize(
    const CallRecord& call, const std::shared_ptr<const void>& self) {
  return SerializeStreamAnswer(id_, Finish(call, self));
}

grpc::ByteBuffer AttentionStreamCodec::SerializeError(
    const grpc::Status& status) const {
  v1::ForwardStreamResponse message;
  message.set_id(id_);
  message.mutable_error()->set_code(status.error_code());
  message.mutable_error()->set_message(status.error_message());
  return SerializeMessage(message);
}

}  // namespace attention
