// SPDX-License-Identifier: Apache-2.0
#include "server/net/message_arrivals.h"

#include <algorithm>
#include <utility>

namespace attention {

void MessageArrivals::Update(std::uint64_t received_bytes,
                             std::uint64_t delivered_bytes) {
  received_bytes_ = received_bytes;
  delivered_bytes_ = delivered_bytes;
}

std::uint64_t MessageArrivals::pending_bytes() const {
  // Modulo 2^64, as settled_bytes_ is: below zero it is beyond half of that.
  const std::uint64_t pending =
      received_bytes_ - delivered_bytes_ - settled_bytes_;
  return pending < std::uint64_t{1} << 63U ? pending : 0;
}

// The lot: of exponentially distributed times with the bytes as rates, the
// first is a connection's with the probability of its share (Efraimidis and
// Spirakis, Weighted random sampling with a reservoir, 2006).
std::vector<std::size_t> ChooseToClose(
    std::span<const std::uint64_t> pending_bytes, std::uint64_t num_bytes,
    std::mt19937_64& random) {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < pending_bytes.size(); ++i) {
    if (pending_bytes[i] == 0) continue;
    std::exponential_distribution<double> time(
        static_cast<double>(pending_bytes[i]));
    order.emplace_back(time(random), i);
  }
  std::ranges::sort(order);
  std::vector<std::size_t> chosen;
  for (const auto& [time, i] : order) {
    if (num_bytes == 0) break;
    chosen.push_back(i);
    num_bytes -= std::min(num_bytes, pending_bytes[i]);
  }
  return chosen;
}

}  // namespace attention
