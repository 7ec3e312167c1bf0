// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/safetensors/safetensors.h"

namespace attention {

/// A safetensors file as the pieces to be written one after the other, so that
/// writing it copies no tensor.
/// Lifetime: `data` borrows the tensors' bytes.
struct SerializedSafetensors {
  std::string header;  ///< length, JSON and padding
  std::vector<std::span<const std::byte>> data;

  /// Length of the file.
  [[nodiscard]] std::size_t num_bytes() const;
  /// The file in one string; copies.
  [[nodiscard]] std::string ToString() const;
};

/// Lay out a file: the header padded to a multiple of 8 bytes, tensors by
/// descending element size, then by name, so that each is naturally aligned
/// from the start of the file. What it returns, SafetensorsView accepts.
/// \return INVALID_ARGUMENT when a name is "__metadata__", a string is not
///   UTF-8 or a limit of SafetensorsView is exceeded.
/// Thread-safe.
[[nodiscard]] absl::StatusOr<SerializedSafetensors> SerializeSafetensors(
    const NamedTensors& tensors, const SafetensorsMetadata& metadata = {});

}  // namespace attention
