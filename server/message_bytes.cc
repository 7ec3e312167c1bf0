// SPDX-License-Identifier: Apache-2.0
#include "server/message_bytes.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <format>
#include <new>
#include <string>

#include "core/tensor/status_macros.h"
#include "proto/wire/forward_scan.h"

namespace attention {
namespace {

// Enough for 2^16 lengths of queries and as many of keys.
constexpr std::size_t kMaxFieldBytes = std::size_t{4} << 20;

absl::Status Parse(grpc::ByteBuffer* bytes,
                   google::protobuf::Message* message) {
  const std::size_t num_bytes = bytes->Valid() ? bytes->Length() : 0;
  bool parsed = false;
  try {
    if (bytes->Valid()) {
      grpc::ProtoBufferReader reader(bytes);
      parsed =
          reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
    }
  } catch (const std::bad_alloc&) {
    bytes->Clear();
    return absl::ResourceExhaustedError("memory is exhausted");
  }
  bytes->Clear();
  if (parsed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      std::format("the message of {} bytes is not a well-formed {}", num_bytes,
                  message->GetTypeName()));
}

template <typename Message, typename Count>
absl::Status ParseBounded(grpc::ByteBuffer* bytes, Message* message,
                          Count count_element_bytes) {
  if (bytes->Valid() && bytes->Length() > kMaxFieldBytes) {
    grpc::ProtoBufferReader reader(bytes);
    const std::size_t field_bytes =
        bytes->Length() - count_element_bytes(&reader);
    if (field_bytes > kMaxFieldBytes) {
      bytes->Clear();
      return absl::InvalidArgumentError(std::format(
          "the message has {} bytes beside tensor elements, expected at most "
          "{}",
          field_bytes, kMaxFieldBytes));
    }
  }
  return Parse(bytes, message);
}

}  // namespace

absl::Status ParseMessage(grpc::ByteBuffer* bytes, std::size_t max_bytes,
                          google::protobuf::Message* message) {
  if (bytes->Valid() && bytes->Length() > max_bytes) {
    const std::size_t num_bytes = bytes->Length();
    bytes->Clear();
    return absl::InvalidArgumentError(
        std::format("the {} has {} bytes, expected at most {}",
                    message->GetTypeName(), num_bytes, max_bytes));
  }
  ATTENTION_RETURN_IF_ERROR(Parse(bytes, message));
  message->DiscardUnknownFields();
  return absl::OkStatus();
}

absl::Status ParseForwardMessage(grpc::ByteBuffer* bytes,
                                 v1::ForwardRequest* message) {
  return ParseBounded(bytes, message, CountRequestElementBytes);
}

absl::Status ParseForwardMessage(grpc::ByteBuffer* bytes,
                                 v1::ForwardStreamRequest* message) {
  return ParseBounded(bytes, message, CountStreamRequestElementBytes);
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

}  // namespace attention
