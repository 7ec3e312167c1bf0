// SPDX-License-Identifier: Apache-2.0
#include "server/net/message_arrivals.h"

#include <algorithm>
#include <tuple>

namespace attention {

void MessageArrivals::Update(std::uint64_t received_bytes,
                             std::uint64_t delivered_bytes, Time now) {
  if (received_bytes != received_bytes_) moved_ = now;
  received_bytes_ = received_bytes;
  delivered_bytes_ = delivered_bytes;
}

std::uint64_t MessageArrivals::pending_bytes() const {
  const std::uint64_t accounted = delivered_bytes_ + settled_bytes_;
  return received_bytes_ > accounted ? received_bytes_ - accounted : 0;
}

// The lot: of exponentially distributed times with the bytes as rates, the
// first is a connection's with the probability of its share (Efraimidis and
// Spirakis, Weighted random sampling with a reservoir, 2006).
std::vector<std::size_t> ChooseToClose(
    std::span<const PendingMessages> connections, std::uint64_t num_bytes,
    std::mt19937_64& random) {
  std::vector<std::tuple<bool, double, std::size_t>> order;
  for (std::size_t i = 0; i < connections.size(); ++i) {
    const PendingMessages& connection = connections[i];
    if (connection.num_bytes == 0) continue;
    std::exponential_distribution<double> time(
        static_cast<double>(connection.num_bytes));
    order.emplace_back(!connection.is_stalled, time(random), i);
  }
  std::ranges::sort(order);
  std::vector<std::size_t> chosen;
  for (const auto& [moves, time, i] : order) {
    if (num_bytes == 0) break;
    chosen.push_back(i);
    num_bytes -= std::min(num_bytes, connections[i].num_bytes);
  }
  return chosen;
}

}  // namespace attention
