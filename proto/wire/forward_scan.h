// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>

#include <cstddef>
#include <cstdint>

namespace attention {

/// Count the bytes of a serialised ForwardRequest, or ForwardStreamRequest,
/// that are elements of tensors, without parsing it: what is left is what
/// parsing may inflate. A malformed message is counted as far as it goes.
/// Cost: O(bytes left), skipping the elements.
[[nodiscard]] std::size_t CountRequestElementBytes(
    google::protobuf::io::ZeroCopyInputStream* message);
[[nodiscard]] std::size_t CountStreamRequestElementBytes(
    google::protobuf::io::ZeroCopyInputStream* message);

/// Read the id of a serialised ForwardStreamRequest, likewise; 0 if it has
/// none.
[[nodiscard]] std::uint64_t ReadStreamRequestId(
    google::protobuf::io::ZeroCopyInputStream* message);

}  // namespace attention
