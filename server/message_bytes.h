// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "attention/v1/attention_service.pb.h"

namespace attention {

/// Parse a message and free its bytes.
/// \return INVALID_ARGUMENT naming the message's type when they are not one,
///   RESOURCE_EXHAUSTED when memory is.
[[nodiscard]] absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                                        google::protobuf::Message* message);

/// The same for a ForwardRequest or ForwardStreamRequest, whose fields beside
/// tensor elements are bounded: protobuf keeps a byte of them in up to sixteen,
/// so that a message within the message limit could exhaust memory.
[[nodiscard]] absl::Status ParseForwardMessage(grpc::ByteBuffer* bytes,
                                               v1::ForwardRequest* message);
[[nodiscard]] absl::Status ParseForwardMessage(
    grpc::ByteBuffer* bytes, v1::ForwardStreamRequest* message);

[[nodiscard]] grpc::ByteBuffer SerializeMessage(
    const google::protobuf::Message& message);

}  // namespace attention
