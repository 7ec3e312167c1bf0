// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "server/net/open_connections.h"
#include "server/rpc/call_observer.h"

namespace attention {

/// Bounds the memory of messages that have not come whole, which gRPC holds and
/// does not tell of: closes connections when it is too much.
///
/// Two signs have to agree, as each may be wrong: the process has more memory
/// than is accounted for, and so much has come on TCP connections that did not
/// end in a message (MessageArrivals). Connections over UNIX sockets, whose
/// bytes the system does not count, are left alone.
class MessageWatch final : public CallObserver {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  /// Return the process's memory that is accounted to nothing else.
  using UnaccountedBytes = std::function<std::size_t()>;

  /// How often to look.
  static constexpr std::chrono::milliseconds kPeriod{100};
  /// How long connections that were closed have to free what they hold.
  static constexpr std::chrono::milliseconds kFreeTime{300};
  /// How often the connections are looked at while all is well.
  static constexpr std::chrono::milliseconds kCalmPeriod{1000};

  /// \param connections is borrowed.
  MessageWatch(std::size_t max_bytes, OpenConnections& connections,
               UnaccountedBytes unaccounted_bytes);

  void OnEntered(const CallRecord& call) override;
  void OnMessage(const CallRecord& call, std::size_t num_bytes) override;
  void OnLeft(const CallRecord& call, const absl::Status& status) override;

  /// Look: below half of max_bytes all is well; beyond it, connections are
  /// closed (ChooseToClose) until they hold half of it. Not thread-safe.
  /// \return how many were closed.
  std::size_t Look(Time now);

 private:
  [[nodiscard]] std::uint64_t Update(Time now);
  std::size_t Close(std::uint64_t num_bytes, Time now);

  const std::size_t max_bytes_;
  OpenConnections& connections_;
  const UnaccountedBytes unaccounted_bytes_;
  std::vector<std::shared_ptr<OpenConnection>> named_;  ///< when last updated
  Time updated_;
  Time resume_;
  std::mt19937_64 random_;
};

}  // namespace attention
