// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/attention_codec.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <array>
#include <optional>
#include <utility>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/round_up.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/message_slices.h"
#include "server/rpc/message_bytes.h"

namespace attention {
namespace {

// Enough for 2^16 lengths of queries and as many of keys.
constexpr std::size_t kMaxFieldBytes = std::size_t{4} << 20;
// What a byte beside tensor elements becomes at most when it is parsed: the two
// of an empty unknown field are 16 in an array that may have doubled just now,
// and a string of their own; and as it was taken out of the message, likewise.
constexpr std::size_t kMaxInflation = 42;

// Room for the elements of each tensor to begin at an aligned place.
constexpr std::size_t kAlignmentBytes = kNumForwardTensors * kTensorAlignment;

// The bytes as they came, the elements copied out of them, and what the other
// fields may grow to.
template <typename Count>
absl::StatusOr<std::size_t> BoundParsing(grpc::ByteBuffer* message,
                                         Count count_element_bytes) {
  if (!message->Valid()) return std::size_t{0};
  grpc::ProtoBufferReader reader(message);
  const std::size_t element_bytes =
      count_element_bytes(MessageBytes{&reader, message->Length()});
  const std::size_t field_bytes = message->Length() - element_bytes;
  if (field_bytes > kMaxFieldBytes) {
    return absl::InvalidArgumentError(FormatText(
        "the message has {} bytes beside tensor elements, expected at most {}",
        field_bytes, kMaxFieldBytes));
  }
  return message->Length() + element_bytes + element_bytes / 8 +
         kAlignmentBytes + kMaxInflation * field_bytes;
}

// Take a message apart and parse its fields. \return none, and what the client
// is told, when it is not well-formed.
template <typename Outline>
absl::StatusOr<ForwardOutline> ParseOutline(grpc::ByteBuffer* bytes,
                                            Outline outline_of,
                                            google::protobuf::Message* fields) {
  if (!bytes->Valid()) return NoMessageError(*fields);
  grpc::ProtoBufferReader reader(bytes);
  std::optional<ForwardOutline> outline;
  if (reader.status().ok()) {
    outline = outline_of(MessageBytes{&reader, bytes->Length()});
  }
  if (!outline || !fields->ParseFromString(outline->fields)) {
    return MalformedError(bytes->Length(), *fields);
  }
  outline->fields = std::string();
  return *std::move(outline);
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
  const auto parse = [&]() -> absl::StatusOr<std::size_t> {
    auto request = std::make_unique<v1::ForwardRequest>();
    ATTENTION_ASSIGN_OR_RETURN(
        const ForwardOutline outline,
        ParseOutline(message, OutlineRequest, request.get()));
    return SetRequest(std::move(request), outline, message);
  };
  absl::StatusOr<std::size_t> num_bytes = CatchBadAlloc(parse);
  message->Clear();
  return num_bytes;
}

absl::StatusOr<AttentionInputs> AttentionCodec::Decode() const {
  return DecodeForwardRequest(*request_, elements_);
}

std::size_t AttentionCodec::AnswerBytes(const OutputShapes& shapes,
                                        DataType dtype) const {
  return attention::AnswerBytes(shapes, dtype);
}

AttentionOutputs AttentionCodec::AllocateOutputs(const OutputShapes& shapes,
                                                 DataType dtype) {
  outputs_.output = Allocate(shapes.output, dtype, &output_memory_);
  if (shapes.weights) {
    outputs_.weights = Allocate(*shapes.weights, dtype, &weights_memory_);
  }
  return outputs_;
}

MutableTensorView AttentionCodec::Allocate(const Shape& shape, DataType dtype,
                                           BufferPool::Buffer* to) {
  MutableTensorView view{nullptr, dtype, shape};
  *to = buffers_.Take(view.num_bytes());
  view.data = to->data();
  return view;
}

void AttentionCodec::FreeRequest() {
  request_.reset();
  element_memory_ = BufferPool::Buffer();
}

grpc::ByteBuffer AttentionCodec::Serialize(
    const CallRecord& call, const std::shared_ptr<const void>& self) {
  return SerializeAnswer(Finish(call, self));
}

std::size_t AttentionCodec::SetRequest(
    std::unique_ptr<v1::ForwardRequest> request, const ForwardOutline& outline,
    grpc::ByteBuffer* message) {
  request_ = request != nullptr ? std::move(request)
                                : std::make_unique<v1::ForwardRequest>();
  std::size_t num_bytes = 0;
  for (const ByteRange& range : outline.elements) {
    num_bytes += RoundUp(range.count, kTensorAlignment);
  }
  element_memory_ = buffers_.Take(num_bytes);
  std::array<RangeCopy, kNumForwardTensors> copies;
  std::byte* to = element_memory_.data();
  for (std::size_t i = 0; i < elements_.size(); ++i) {
    const ByteRange& range = outline.elements[i];
    copies[i] = {range, to};
    elements_[i] = {to, range.count};
    to += RoundUp(range.count, kTensorAlignment);
  }
  CopyRanges(message, copies);
  return request_->SpaceUsedLong() + element_memory_.size();
}

ForwardAnswer AttentionCodec::Finish(const CallRecord& call,
                                     const std::shared_ptr<const void>& self) {
  response_.set_module_version(call.module_version);
  response_.set_batch_size(call.times.batch_size);
  v1::Timing& timing = *response_.mutable_timing();
  timing.set_decode_time_ns(Nanoseconds(call.decode));
  timing.set_queue_time_ns(Nanoseconds(call.times.queue));
  timing.set_compute_time_ns(Nanoseconds(call.times.compute));
  timing.set_total_time_ns(
      Nanoseconds(CallRecord::Clock::now() - call.entered));
  return {response_, outputs_, self};
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
  const auto parse = [&]() -> absl::StatusOr<std::size_t> {
    v1::ForwardStreamRequest envelope;
    ATTENTION_ASSIGN_OR_RETURN(
        const ForwardOutline outline,
        ParseOutline(message, OutlineStreamRequest, &envelope));
    id_ = envelope.id();
    return SetRequest(
        std::unique_ptr<v1::ForwardRequest>(envelope.release_request()),
        outline, message);
  };
  absl::StatusOr<std::size_t> num_bytes = CatchBadAlloc(parse);
  message->Clear();
  // Whatever was read before.
  if (absl::IsInvalidArgument(num_bytes.status())) id_ = 0;
  return num_bytes;
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
