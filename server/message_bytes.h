// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace attention {

/// Parse a message and free its bytes.
/// \return INVALID_ARGUMENT naming the message's type when they are not one,
///   RESOURCE_EXHAUSTED when memory is.
[[nodiscard]] absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                                        google::protobuf::Message* message);

[[nodiscard]] grpc::ByteBuffer SerializeMessage(
    const google::protobuf::Message& message);

}  // namespace attention
