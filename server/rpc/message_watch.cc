// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_watch.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "server/net/received_bytes.h"

namespace attention {

MessageWatch::MessageWatch(std::size_t max_bytes, OpenConnections& connections,
                           UnaccountedBytes unaccounted_bytes)
    : max_bytes_(max_bytes),
      connections_(connections),
      unaccounted_bytes_(std::move(unaccounted_bytes)),
      random_(std::random_device()()) {}

void MessageWatch::OnEntered(const CallRecord& /*call*/) {}

void MessageWatch::OnMessage(const CallRecord& call, std::size_t num_bytes) {
  connections_.CountMessage(call.caller.peer, num_bytes);
}

void MessageWatch::OnLeft(const CallRecord& /*call*/,
                          const absl::Status& /*status*/) {}

std::size_t MessageWatch::Look(Time now) {
  const std::uint64_t unaccounted = unaccounted_bytes_();
  const bool is_well = unaccounted <= max_bytes_ / 2;
  if (is_well && now - updated_ < kCalmPeriod) return 0;
  const std::uint64_t held = std::min(unaccounted, Update(now));
  std::size_t num_closed = 0;
  if (is_well) {
    for (const auto& connection : named_) connection->arrivals.Settle();
  } else if (held > max_bytes_ && now >= resume_) {
    num_closed = Close(held - max_bytes_ / 2, now);
    resume_ = now + kFreeTime;
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
    // First what came whole, which has been received.
    const std::uint64_t delivered = connection->delivered_bytes;
    connection->arrivals.Update(ReceivedBytes(connection->socket.get()),
                                delivered, now);
    sum += connection->arrivals.pending_bytes();
  }
  return sum;
}

std::size_t MessageWatch::Close(std::uint64_t num_bytes, Time now) {
  std::vector<PendingMessages> pending;
  for (const auto& connection : named_) {
    pending.push_back({.num_bytes = connection->arrivals.pending_bytes(),
                       .is_stalled = connection->arrivals.IsStalled(now)});
  }
  const std::vector<std::size_t> chosen =
      ChooseToClose(pending, num_bytes, random_);
  std::uint64_t closed_bytes = 0;
  for (const std::size_t i : chosen) {
    shutdown(named_[i]->socket.get(), SHUT_RDWR);
    closed_bytes += pending[i].num_bytes;
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
