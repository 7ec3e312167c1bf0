// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_watch.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/net/received_bytes.h"

namespace attention {

MessageWatch::MessageWatch(std::size_t max_bytes, OpenConnections& connections,
                           ReadMemory read_memory)
    : max_bytes_(max_bytes),
      connections_(connections),
      read_memory_(std::move(read_memory)),
      random_(std::random_device()()) {}

void MessageWatch::OnEntered(const CallRecord& /*call*/) {}

void MessageWatch::OnMessage(const CallRecord& call, std::size_t num_bytes) {
  connections_.CountMessage(call.caller.peer, num_bytes);
}

void MessageWatch::OnLeft(const CallRecord& /*call*/,
                          const absl::Status& /*status*/) {}

std::size_t MessageWatch::Look(Time now) {
  const Memory memory = read_memory_(max_bytes_ / 2);
  const bool is_well = memory.reserved_or_not <= max_bytes_ / 2;
  const bool may_be_over = memory.unaccounted > max_bytes_;
  if (!may_be_over && now - updated_ < kCalmPeriod) return 0;
  const std::uint64_t pending = Update(now);
  const std::uint64_t held =
      std::min<std::uint64_t>(memory.unaccounted, pending);
  const bool has_to_wait =
      now < resume_ && held <= closed_held_ + max_bytes_ / 2;
  std::size_t num_closed = 0;
  if (is_well) {
    for (const auto& connection : named_) connection->arrivals.Settle();
  } else if (held > max_bytes_ && !has_to_wait) {
    // As many of the bytes that came as hold so much.
    const double share =
        static_cast<double>(held - max_bytes_ / 2) / static_cast<double>(held);
    num_closed = Close(static_cast<std::uint64_t>(
        std::ceil(share * static_cast<double>(pending))));
    resume_ = now + kFreeTime;
    closed_held_ = held;
  }
  named_.clear();
  return num_closed;
}

// \return the bytes that all hold.
std::uint64_t MessageWatch::Update(Time now) {
  updated_ = now;
  named_ = connections_.ListNamed();
  std::uint64_t sum = 0;
  for (const auto& connection : named_) {
    // First what came whole: what comes meanwhile is pending for a moment.
    const std::uint64_t delivered = connection->delivered_bytes;
    connection->arrivals.Update(ReceivedBytes(connection->socket.get()),
                                delivered);
    sum += connection->arrivals.pending_bytes();
  }
  return sum;
}

std::size_t MessageWatch::Close(std::uint64_t num_bytes) {
  std::vector<std::uint64_t> pending;
  for (const auto& connection : named_) {
    pending.push_back(connection->arrivals.pending_bytes());
  }
  const std::vector<std::size_t> chosen =
      ChooseToClose(pending, num_bytes, random_);
  std::uint64_t closed_bytes = 0;
  for (const std::size_t i : chosen) {
    shutdown(named_[i]->socket.get(), SHUT_RDWR);
    closed_bytes += pending[i];
  }
  if (!chosen.empty()) {
    spdlog::warn(
        "closed {} connections with {} bytes of unfinished messages, which "
        "took more than {} bytes in all; one was peer={}",
        chosen.size(), closed_bytes, max_bytes_, named_[chosen.front()]->peer);
  }
  return chosen.size();
}

}  // namespace attention
