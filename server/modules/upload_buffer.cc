// SPDX-License-Identifier: Apache-2.0
#include "server/modules/upload_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {

UploadBuffer::UploadBuffer(std::size_t max_bytes,
                           AdmissionController::Reservation reservation)
    : max_bytes_(max_bytes), reservation_(std::move(reservation)) {}

absl::Status UploadBuffer::Append(std::string_view bytes) {
  if (bytes.size() > max_bytes_ - size_) {
    return absl::ResourceExhaustedError(FormatText(
        "the file is longer than the limit of {} bytes (--max-module-bytes)",
        max_bytes_));
  }
  ATTENTION_RETURN_IF_ERROR(reservation_.Extend(bytes.size()));
  if (bytes.size() > capacity_ - size_) {
    // Doubling is cheap: large blocks are remapped rather than copied, and what
    // is not yet written takes no memory.
    const std::size_t capacity =
        std::max(size_ + bytes.size(), std::min(2 * capacity_, max_bytes_));
    // NOLINTNEXTLINE(cppcoreguidelines-no-malloc)
    auto* grown = static_cast<std::byte*>(std::realloc(data_.get(), capacity));
    if (grown == nullptr) {
      return absl::ResourceExhaustedError("memory is exhausted");
    }
    static_cast<void>(data_.release());
    data_.reset(grown);
    capacity_ = capacity;
  }
  if (!bytes.empty()) {
    std::memcpy(data_.get() + size_, bytes.data(), bytes.size());
  }
  size_ += bytes.size();
  return absl::OkStatus();
}

}  // namespace attention
