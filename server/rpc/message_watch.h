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

  /// Memory of the process beyond what it has at rest.
  struct Memory {
    /// Without what modules and the like have.
    std::size_t reserved_or_not = 0;
    /// Of it, beyond what is reserved for requests and answers.
    std::size_t unaccounted = 0;
  };
  /// Read it; exact only where it is more than `of_interest`.
  using ReadMemory = std::function<Memory(std::size_t of_interest)>;

  /// How often to look.
  static constexpr std::chrono::milliseconds kPeriod{100};
  /// How long connections that were closed have to free what they hold.
  static constexpr std::chrono::milliseconds kFreeTime{300};
  /// How often the connections are looked at while nobody is to be closed.
  static constexpr std::chrono::milliseconds kCalmPeriod{1000};

  /// \param connections is borrowed.
  MessageWatch(std::size_t max_bytes, OpenConnections& connections,
               ReadMemory read_memory);

  void OnEntered(const CallRecord& call) override;
  void OnMessage(const CallRecord& call, std::size_t num_bytes) override;
  void OnLeft(const CallRecord& call, const absl::Status& status) override;

  /// Look: at less than half of max_bytes, reserved or not, all is well; beyond
  /// max_bytes, unaccounted, connections are closed (ChooseToClose) until the
  /// others hold half of it. Not thread-safe.
  /// \return how many were closed.
  std::size_t Look(Time now);

 private:
  [[nodiscard]] std::uint64_t Update(Time now);
  std::size_t Close(std::uint64_t num_bytes);

  const std::size_t max_bytes_;
  OpenConnections& connections_;
  const ReadMemory read_memory_;
  std::vector<std::shared_ptr<OpenConnection>> named_;  ///< when last updated
  Time updated_;
  Time resume_;                    ///< nobody is closed before, ...
  std::uint64_t closed_held_ = 0;  ///< ... unless they hold more than this
  std::mt19937_64 random_;
};

}  // namespace attention
