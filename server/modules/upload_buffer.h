// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "core/serving/admission_controller.h"

namespace attention {

/// The bytes of a file as they arrive, in one piece, within a budget that all
/// uploads share. Move-only. Not thread-safe.
class UploadBuffer {
 public:
  /// \param reservation of the shared budget; grows with the bytes.
  UploadBuffer(std::size_t max_bytes,
               AdmissionController::Reservation reservation);

  /// \return RESOURCE_EXHAUSTED beyond max_bytes, beyond the budget, or when
  ///   memory is exhausted.
  [[nodiscard]] absl::Status Append(std::string_view bytes);

  [[nodiscard]] std::span<const std::byte> bytes() const {
    return {data_.get(), size_};
  }

 private:
  struct Free {
    // What realloc gave.
    // NOLINTNEXTLINE(cppcoreguidelines-no-malloc)
    void operator()(std::byte* data) const { std::free(data); }
  };

  std::size_t max_bytes_;
  AdmissionController::Reservation reservation_;
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace attention
