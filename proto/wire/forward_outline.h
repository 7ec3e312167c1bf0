// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "proto/wire/forward_codec.h"

namespace attention {

/// Some bytes of a message.
struct ByteRange {
  std::size_t first = 0;
  std::size_t count = 0;
};

/// A serialised message that is read once.
struct MessageBytes {
  google::protobuf::io::ZeroCopyInputStream* stream = nullptr;
  std::size_t num_bytes = 0;  ///< of all of it
};

/// A serialised message with tensors, taken apart: their elements, which stay
/// where they are, and all the rest, for protobuf to parse. What protobuf makes
/// of the rest, with these elements as the tensors' data, is what it would make
/// of the whole.
struct ForwardOutline {
  std::string fields;  ///< the message without its elements, serialised
  /// By tensor, in the order of kForwardTensorFields.
  std::array<ByteRange, kNumForwardTensors> elements;
};

/// Count the bytes of a serialised ForwardRequest, or ForwardStreamRequest,
/// that are elements of tensors: what is left is what parsing may inflate. A
/// malformed message is counted as far as it goes. Allocates nothing.
/// Cost: O(bytes left), skipping the elements.
[[nodiscard]] std::size_t CountRequestElementBytes(const MessageBytes& message);
[[nodiscard]] std::size_t CountStreamRequestElementBytes(
    const MessageBytes& message);

/// Take a request apart. \return none if it is not well-formed; protobuf may
///   still find that the fields are not. Cost: as counting. Throws
///   std::bad_alloc.
[[nodiscard]] std::optional<ForwardOutline> OutlineRequest(
    const MessageBytes& message);
[[nodiscard]] std::optional<ForwardOutline> OutlineStreamRequest(
    const MessageBytes& message);
/// The same of a ForwardResponse: elements are those of output, then of
/// weights.
[[nodiscard]] std::optional<ForwardOutline> OutlineResponse(
    const MessageBytes& message);

/// Read the id of a serialised ForwardStreamRequest; 0 if it has none.
[[nodiscard]] std::uint64_t ReadStreamRequestId(
    google::protobuf::io::ZeroCopyInputStream* message);

}  // namespace attention
