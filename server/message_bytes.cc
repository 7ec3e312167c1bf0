// SPDX-License-Identifier: Apache-2.0
#include "server/message_bytes.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <format>
#include <new>
#include <string>

#include "proto/wire/forward_scan.h"

namespace attention {
namespace {

// Enough for 2^20 lengths of queries and as many of keys.
constexpr std::size_t kMaxFieldBytes = std::size_t{16} << 20;

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
  return ParseMessage(bytes, message);
}

}  // namespace

absl::Status ParseMessage(grpc::ByteBuffer* bytes,
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
