// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_bytes.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <string>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {

absl::Status NoMessageError(const google::protobuf::Message& message) {
  return absl::InvalidArgumentError(FormatText(
      "the call has no whole message, expected {}", message.GetTypeName()));
}

absl::Status MalformedError(std::size_t num_bytes,
                            const google::protobuf::Message& message) {
  return absl::InvalidArgumentError(
      FormatText("the message of {} bytes is not a well-formed {}", num_bytes,
                 message.GetTypeName()));
}

absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                          google::protobuf::Message* message) {
  if (!bytes->Valid()) return NoMessageError(*message);
  const absl::Status parsed = CatchBadAlloc([&]() -> absl::Status {
    grpc::ProtoBufferReader reader(bytes);
    if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) {
      return absl::OkStatus();
    }
    return MalformedError(bytes->Length(), *message);
  });
  bytes->Clear();
  return parsed;
}

absl::Status ParseMessage(grpc::ByteBuffer* bytes, std::size_t max_bytes,
                          google::protobuf::Message* message) {
  if (bytes->Valid() && bytes->Length() > max_bytes) {
    const std::size_t num_bytes = bytes->Length();
    bytes->Clear();
    return absl::InvalidArgumentError(
        FormatText("the {} has {} bytes, expected at most {}",
                   message->GetTypeName(), num_bytes, max_bytes));
  }
  ATTENTION_RETURN_IF_ERROR(ParseMessage(bytes, message));
  message->DiscardUnknownFields();
  return absl::OkStatus();
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

}  // namespace attention
