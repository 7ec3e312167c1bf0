// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "attention/v1/attention_service.pb.h"

namespace attention {

/// Longest message that manages modules, and longest header of an upload:
/// names, a config and a prefix need far less.
inline constexpr std::size_t kMaxManagementBytes = std::size_t{64} << 10U;
/// Longest message of an upload.
inline constexpr std::size_t kMaxUploadMessageBytes = std::size_t{16} << 20U;

/// Parse a message of at most `max_bytes` and free its bytes. Unknown fields
/// are dropped.
/// \return INVALID_ARGUMENT naming the message's type when they are not one or
///   too many, RESOURCE_EXHAUSTED when memory is.
[[nodiscard]] absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                                        std::size_t max_bytes,
                                        google::protobuf::Message* message);

/// Parse a ForwardRequest or ForwardStreamRequest, whose fields beside
/// tensor elements are bounded: protobuf keeps a byte of them in up to sixteen,
/// so that a message within the message limit could exhaust memory.
[[nodiscard]] absl::Status ParseForwardMessage(grpc::ByteBuffer* bytes,
                                               v1::ForwardRequest* message);
[[nodiscard]] absl::Status ParseForwardMessage(
    grpc::ByteBuffer* bytes, v1::ForwardStreamRequest* message);

[[nodiscard]] grpc::ByteBuffer SerializeMessage(
    const google::protobuf::Message& message);

}  // namespace attention
