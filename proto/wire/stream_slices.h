// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"

namespace attention {

/// Serialise the ForwardStreamRequest of a serialised ForwardRequest, whose
/// memory the bytes share. Thread-safe.
[[nodiscard]] grpc::ByteBuffer SerializeStreamRequest(
    std::uint64_t id, const grpc::ByteBuffer& request);

/// A ForwardStreamResponse, taken apart.
struct StreamAnswer {
  std::uint64_t id = 0;
  std::optional<grpc::Status> error;  ///< why there is no response
  /// The ForwardResponse, serialised; shares the message's memory.
  grpc::ByteBuffer response;
};

/// Take a ForwardStreamResponse apart; copies no elements. Of fields that are
/// there more than once it makes what protobuf does.
/// \return INTERNAL when the message, or its error, is malformed; whether its
///   response is, ParseAnswer says.
[[nodiscard]] absl::StatusOr<StreamAnswer> ParseStreamAnswer(
    const grpc::ByteBuffer& message);

}  // namespace attention
