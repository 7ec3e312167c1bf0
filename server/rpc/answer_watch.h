// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

namespace attention {

/// How long answers wait for callers who do not take them.
struct AnswerLimits {
  /// What answers may hold before `patience` applies.
  std::size_t max_unread_bytes = std::size_t{512} << 20U;
  std::chrono::milliseconds patience = std::chrono::seconds(5);
  /// However little they hold.
  std::chrono::milliseconds max_wait = std::chrono::seconds(30);
};

/// Answers of a call that wait for its caller.
struct UnreadAnswers {
  std::size_t num_bytes = 0;
  /// Of those that had to leave when the oldest was given, itself the last.
  std::size_t oldest_bytes = 0;
  std::chrono::nanoseconds waited{0};  ///< the oldest, since it was given
};

/// Rates at which callers take answers, at least: always, and while memory is
/// short.
inline constexpr std::size_t kSlowBytesPerSecond = std::size_t{128} << 10U;
inline constexpr std::size_t kBusyBytesPerSecond = std::size_t{4} << 20U;

/// Choose the calls to cancel: those whose oldest answer has waited for
/// max_wait and a second for each kSlowBytesPerSecond of oldest_bytes and,
/// until the others hold no more than max_unread_bytes, those that have waited
/// longest beyond patience and a second for each kBusyBytesPerSecond.
/// \return positions in `calls`.
[[nodiscard]] std::vector<std::size_t> ChooseToCancel(
    std::span<const UnreadAnswers> calls, const AnswerLimits& limits);

/// What an answer waits for.
struct AnswerWait {
  std::chrono::steady_clock::time_point since;
  std::size_t num_bytes = 0;  ///< of those before it and its own
};

/// Knows the answers that gRPC has and their callers have not taken, and
/// cancels calls whose answers wait for too long. gRPC does not tell how much
/// of an answer has left, so each counts as a whole. Thread-safe.
class AnswerWatch {
 public:
  using Clock = std::chrono::steady_clock;
  using Wait = AnswerWait;

  /// The answers of one call. Not thread-safe but for what the watch does.
  class Call {
   public:
    /// \param context outlives this; borrowed.
    Call(AnswerWatch& watch, grpc::CallbackServerContext* context)
        : watch_(watch), context_(context) {}
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    /// An answer waits for its caller, behind those before it.
    Wait Give(std::size_t num_bytes, Clock::time_point now);
    /// The caller has taken the oldest answer.
    /// \param next of the one behind it, if there is one.
    void Take(std::size_t num_bytes, const Wait& next = {});

   private:
    friend class AnswerWatch;
    AnswerWatch& watch_;
    grpc::CallbackServerContext* const context_;
    // Guarded by the watch's mutex.
    std::size_t num_bytes_ = 0;  ///< unread; in the list if there are any
    Wait oldest_;
    bool is_cancelled_ = false;
    Call* previous_ = nullptr;
    Call* next_ = nullptr;
  };

  explicit AnswerWatch(const AnswerLimits& limits) : limits_(limits) {}
  ~AnswerWatch() = default;
  AnswerWatch(const AnswerWatch&) = delete;
  AnswerWatch& operator=(const AnswerWatch&) = delete;

  /// Cancel the calls that ChooseToCancel chooses. Call every second or so.
  void CancelUnread(Clock::time_point now);

  /// Bytes of the answers that wait.
  [[nodiscard]] std::size_t unread_bytes() const;

 private:
  void Link(Call& call);
  void Unlink(Call& call);

  const AnswerLimits limits_;
  mutable std::mutex mutex_;  // guards all below, and the list
  Call* first_ = nullptr;
  std::size_t num_bytes_ = 0;
};

}  // namespace attention
