// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>

namespace attention {

/// What the allocator has from the system.
struct HeapBytes {
  std::size_t in_use = 0;
  std::size_t free = 0;  ///< freed, perhaps not given back
};

/// Ask the allocator; takes its locks for up to some milliseconds.
[[nodiscard]] HeapBytes ReadHeap();

/// Return the bytes of anonymous memory the process has, which is what it may
/// be killed for; nothing where the system does not tell.
[[nodiscard]] std::optional<std::size_t> ReadAnonymousBytes();

/// Decides when freed memory is to be given back to the system: when so much of
/// it has been used since the last time and has then been free for a while.
/// Not thread-safe.
class TrimRule {
 public:
  static constexpr std::size_t kWorthwhileBytes = std::size_t{32} << 20U;

  /// Look; to be called every second or so.
  /// \param free_bytes as HeapBytes::free; giving back does not change them.
  /// \return whether to give back now.
  [[nodiscard]] bool Look(std::size_t free_bytes);

 private:
  std::array<std::size_t, 2> before_{};  ///< free the last times, newest first
  std::optional<std::size_t> least_;     ///< free since the last time, at least
};

}  // namespace attention
