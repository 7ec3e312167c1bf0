// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace attention {

/// How many lines of one kind may be written: so many in a second, which begins
/// with the first of them. Not thread-safe.
class LineLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit LineLimit(std::uint64_t lines_per_second)
      : lines_per_second_(lines_per_second) {}

  /// Ask for a line.
  /// \return how many were refused since the last one; nothing when this one
  ///   is.
  std::optional<std::uint64_t> Take(Time now) {
    if (IsOver(now)) {
      begin_ = now;
      num_lines_ = 0;
    }
    if (num_lines_ == lines_per_second_) {
      ++num_refused_;
      return std::nullopt;
    }
    ++num_lines_;
    return std::exchange(num_refused_, 0);
  }

  /// \return how many were refused in a second that is over, each told once.
  std::uint64_t TakeRefused(Time now) {
    return IsOver(now) ? std::exchange(num_refused_, 0) : 0;
  }

 private:
  [[nodiscard]] bool IsOver(Time now) const {
    return !begin_ || now - *begin_ >= std::chrono::seconds(1);
  }

  const std::uint64_t lines_per_second_;
  std::optional<Time> begin_;
  std::uint64_t num_lines_ = 0;
  std::uint64_t num_refused_ = 0;
};

}  // namespace attention
