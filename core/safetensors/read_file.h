// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Return the length of a regular file.
/// \return INVALID_ARGUMENT when it is none, INTERNAL when it cannot be told.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<std::size_t> FileSize(int file);

/// Read bytes of a file from an offset on, as many as there is room for.
/// \return INTERNAL when reading fails or the file ends before. Thread-safe.
[[nodiscard]] absl::Status ReadAt(int file, std::size_t offset,
                                  std::span<std::byte> bytes);

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
