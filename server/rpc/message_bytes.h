// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

#include "absl/status/status.h"

namespace attention {

/// Longest message that manages modules, and longest header of an upload:
/// names, a config and a prefix need far less.
inline constexpr std::size_t kMaxManagementBytes = std::size_t{64} << 10U;
/// Longest message of an upload.
inline constexpr std::size_t kMaxUploadMessageBytes = std::size_t{16} << 20U;

/// Say that a call has no message of this type, or bytes that are none.
[[nodiscard]] absl::Status NoMessageError(
    const google::protobuf::Message& message);
[[nodiscard]] absl::Status MalformedError(
    std::size_t num_bytes, const google::protobuf::Message& message);

/// Parse a message and free its bytes.
/// \return INVALID_ARGUMENT naming the message's type when they are not one,
///   RESOURCE_EXHAUSTED when memory is.
[[nodiscard]] absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                                        google::protobuf::Message* message);

/// The same for one of at most `max_bytes`, else INVALID_ARGUMENT, too. Unknown
/// fields are dropped.
[[nodiscard]] absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                                        std::size_t max_bytes,
                                        google::protobuf::Message* message);

[[nodiscard]] grpc::ByteBuffer SerializeMessage(
    const google::protobuf::Message& message);

}  // namespace attention
