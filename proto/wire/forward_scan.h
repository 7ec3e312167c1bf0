// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>

#include <cstddef>

namespace attention {

/// Count the bytes of a serialised ForwardRequest, or ForwardStreamRequest,
/// that are elements of tensors, without parsing it: what is left is what
/// parsing may inflate. A malformed message is counted as far as it goes.
/// Cost: O(bytes left), skipping the elements.
[[nodiscard]] std::size_t CountRequestElementBytes(
    google::protobuf::io::ZeroCopyInputStream* message);
[[nodiscard]] std::size_t CountStreamRequestElementBytes(
    google::protobuf::io::ZeroCopyInputStream* message);

}  // namespace attention
