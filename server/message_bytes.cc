// SPDX-License-Identifier: Apache-2.0
#include "server/message_bytes.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <format>
#include <new>
#include <string>

namespace attention {

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

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

}  // namespace attention
