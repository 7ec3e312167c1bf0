// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Read a whole regular file into memory of our own.
///
/// Reading, not mapping: a file truncated while it is mapped would end the
/// process with SIGBUS.
/// \param file an open descriptor; it stays the caller's. Open with O_NONBLOCK
///   when the path is not trusted, lest a FIFO blocks the open.
/// \return INVALID_ARGUMENT when it is not a regular file, RESOURCE_EXHAUSTED
///   when it is longer than `max_bytes` or memory is exhausted, INTERNAL when
///   reading fails or the file shrinks meanwhile.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<AlignedBuffer> ReadFile(int file,
                                                     std::size_t max_bytes);

}  // namespace attention
