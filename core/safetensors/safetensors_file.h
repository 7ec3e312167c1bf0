// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "core/safetensors/safetensors.h"
#include "core/tensor/tensor.h"

namespace attention {

/// A safetensors file read into memory, once, and the view of it.
/// Move-only; moving keeps the view valid. Thread-compatible.
class SafetensorsFile {
 public:
  /// Read and parse an open file.
  /// \return the errors of ReadFile and SafetensorsView::Parse.
  [[nodiscard]] static absl::StatusOr<SafetensorsFile> Read(
      int file, std::size_t max_bytes);

  /// Read the metadata alone, whatever the tensors are.
  /// \return the errors of FileSize, ReadAt and of reading a header.
  [[nodiscard]] static absl::StatusOr<SafetensorsMetadata> ReadMetadata(
      int file);

  /// Length of the file.
  [[nodiscard]] std::size_t num_bytes() const { return bytes_.size(); }

  /// Lifetime: borrows from this file.
  [[nodiscard]] const SafetensorsView& view() const { return view_; }

 private:
  SafetensorsFile(AlignedBuffer bytes, SafetensorsView view)
      : bytes_(std::move(bytes)), view_(std::move(view)) {}

  AlignedBuffer bytes_;
  SafetensorsView view_;
};

}  // namespace attention
