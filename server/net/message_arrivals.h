// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace attention {

/// What of one connection's bytes belongs to messages that have not come whole,
/// as far as can be told: what came since all was well, less what came whole
/// since. Frames that are no messages and messages given up are in it, too.
/// Not thread-safe.
class MessageArrivals {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// A connection of which nothing has come for so long has stalled.
  static constexpr std::chrono::seconds kStallTime{1};

  /// \param received_bytes of the connection, since it began.
  /// \param delivered_bytes of them, or fewer, in messages that came whole.
  void Update(std::uint64_t received_bytes, std::uint64_t delivered_bytes,
              Time now);
  /// All is well: whatever has come is nothing to judge by.
  void Settle() { settled_bytes_ = received_bytes_ - delivered_bytes_; }

  [[nodiscard]] std::uint64_t pending_bytes() const;
  [[nodiscard]] bool IsStalled(Time now) const {
    return now - moved_ >= kStallTime;
  }

 private:
  std::uint64_t received_bytes_ = 0;
  std::uint64_t delivered_bytes_ = 0;
  std::uint64_t settled_bytes_ = 0;
  Time moved_;  ///< when something last came
};

/// A connection to choose from.
struct PendingMessages {
  std::uint64_t num_bytes = 0;
  bool is_stalled = false;
};

/// Choose the connections to close so that at least `num_bytes` are freed:
/// those that have stalled first, then by lot, each byte having the same
/// chance. So whoever holds most is hit most, and a message nearly come is hit
/// no more than others.
/// \return positions in `connections`; all that hold something, if they are too
///   few.
[[nodiscard]] std::vector<std::size_t> ChooseToClose(
    std::span<const PendingMessages> connections, std::uint64_t num_bytes,
    std::mt19937_64& random);

}  // namespace attention
