// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  /// \param received_bytes of the connection, since it began.
  /// \param delivered_bytes of them in messages that came whole, about.
  void Update(std::uint64_t received_bytes, std::uint64_t delivered_bytes);
  /// All is well: whatever has come is nothing to judge by.
  void Settle() { settled_bytes_ = received_bytes_ - delivered_bytes_; }

  [[nodiscard]] std::uint64_t pending_bytes() const;

 private:
  std::uint64_t received_bytes_ = 0;
  std::uint64_t delivered_bytes_ = 0;
  std::uint64_t settled_bytes_ = 0;
};

/// Choose the connections to close so that `num_bytes` are freed, by lot, each
/// byte having the same chance. So who holds most is hit most, but nobody
/// surely: neither a message nearly come nor a slow sender's.
/// \param pending_bytes of each connection.
/// \return positions in `pending_bytes`; all that hold something, if they are
///   too few.
[[nodiscard]] std::vector<std::size_t> ChooseToClose(
    std::span<const std::uint64_t> pending_bytes, std::uint64_t num_bytes,
    std::mt19937_64& random);

}  // namespace attention
