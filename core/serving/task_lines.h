// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "core/serving/cost_model.h"
#include "core/serving/forward_task.h"

namespace attention {

/// How many requests are computed together at most, and when.
struct BatchLimits {
  /// Of all requests together, unless one alone is larger.
  std::int64_t max_tokens = 1024;
  /// How long the first of a batch that is not full waits for company.
  std::chrono::microseconds max_delay{0};
  /// What their tokens and pairs are predicted to take together, unless one
  /// alone takes longer: beyond it little is gained by company, and all wait
  /// for the last.
  std::chrono::milliseconds max_time{10};

  /// Products of queries and keys, likewise: as if every token attended to
  /// 1,024 keys.
  [[nodiscard]] std::int64_t max_pairs() const { return max_tokens * 1024; }
  /// Whether a request is no more than a batch may be.
  [[nodiscard]] bool Fits(const ForwardTask::Size& size) const {
    return size.tokens <= max_tokens && size.pairs <= max_pairs();
  }
  /// Whether another request of a token would be more than that.
  [[nodiscard]] bool AreFull(const ForwardTask::Size& size) const {
    return size.tokens >= max_tokens || size.pairs >= max_pairs();
  }
};

/// The tasks that wait, in lines of what can be computed together, and whose
/// turn it is.
///
/// A line is one implementation's, and of requests that fit into a batch or of
/// those that do not; what is computed in double never does, as it takes
/// scratch of its own for each. The turn is that of the line that has been
/// computed for the shortest time; one that waits anew counts from the least of
/// those that wait or are computed, so it is neither owed nor charged for the
/// time before (as in start-time fair queueing, Goyal, Vin and Cheng 1996).
/// Within a line: first in, first out. A caller has one task here at a time.
/// Knows no clock but what it is told. Not thread-safe.
class TaskLines {
 public:
  using Clock = ForwardTask::Clock;
  using Tasks = std::list<std::unique_ptr<ForwardTask>>;

  /// What makes tasks stand in one line.
  struct Key {
    const ModuleImplementation* implementation = nullptr;
    bool is_large = false;  ///< no batch: one request alone

    friend auto operator<=>(const Key&, const Key&) = default;
  };
  /// Tasks to be computed together, until Return.
  struct Turn {
    Key line;
    std::chrono::nanoseconds served{0};  ///< its line, before this turn
    Tasks tasks;
  };

  /// \param costs is borrowed.
  TaskLines(const BatchLimits& limits, const CostModels& costs)
      : limits_(limits), costs_(costs) {}

  /// The line a task stands in.
  [[nodiscard]] Key LineOf(const ForwardTask& task) const;

  /// Append `task`, which is not null, to its line and take it over. Throws
  /// std::bad_alloc, and leaves it then.
  void Append(std::unique_ptr<ForwardTask>& task);

  /// Begin the next turn. \return none while there are no tasks, or those there
  /// are wait for company until NextReady().
  [[nodiscard]] std::optional<Turn> Take(Clock::time_point now);
  /// Begin one of a line of small requests that has been computed for less than
  /// `served`, company or not.
  [[nodiscard]] std::optional<Turn> TakeSmall(Clock::time_point now,
                                              std::chrono::nanoseconds served);
  /// Whether there is one.
  [[nodiscard]] bool HasSmall(std::chrono::nanoseconds served) const;
  /// When the first task has waited for company long enough; the largest time
  /// if there is none.
  [[nodiscard]] Clock::time_point NextReady() const;

  /// Return how long a task that joins a line now is predicted to wait for its
  /// turn; company that comes later, and may be computed with it or before it,
  /// is not foreseen.
  [[nodiscard]] std::chrono::nanoseconds ExpectedWait(
      const Key& line, Clock::time_point now) const;

  /// Return what all tasks here, and the turns begun, are predicted to take.
  [[nodiscard]] std::chrono::nanoseconds PredictedTime(
      Clock::time_point now) const;

  /// Whether no task waits and no turn is under way.
  [[nodiscard]] bool empty() const;

  /// End a turn, which took so long. Every turn is ended once.
  void Return(const Key& line, std::chrono::nanoseconds took);

  /// Take the task of a caller out. \return null if it is not here.
  [[nodiscard]] std::unique_ptr<ForwardTask> Remove(
      const ForwardTask::Caller& caller);
  /// Take all out.
  [[nodiscard]] Tasks RemoveAll();

 private:
  struct Line {
    Tasks tasks;
    ForwardTask::Size size;  // of all tasks
    std::chrono::nanoseconds served{0};
    bool gives_way = false;  // a turn of it, to smaller ones
    bool in_turn = false;
    // Of the turn it is in.
    ForwardTask::Size turn_size;
    Clock::time_point turn_begin;  // later by what has come in between

    [[nodiscard]] bool is_active() const { return in_turn || !tasks.empty(); }
    [[nodiscard]] std::chrono::nanoseconds ServedBy(
        Clock::time_point now) const {
      return served +
             (in_turn ? now - turn_begin : std::chrono::nanoseconds(0));
    }
    /// When the first task came; there is one.
    [[nodiscard]] Clock::time_point oldest() const {
      return tasks.front()->created();
    }
  };
  using Lines = std::map<Key, Line>;
  struct Place {
    Lines::iterator line;
    Tasks::iterator task;
  };

  // Begin the turn of the line whose turn it is of those that may begin.
  template <typename MayBegin>
  [[nodiscard]] std::optional<Turn> BeginOneOf(Clock::time_point now,
                                               const MayBegin& may_begin);
  [[nodiscard]] Turn Begin(Clock::time_point now, const Key& key, Line& line);
  // What a line's tasks, and what is left of its turn, are predicted to take.
  [[nodiscard]] std::chrono::nanoseconds Backlog(
      const Lines::value_type& entry) const;
  [[nodiscard]] std::chrono::nanoseconds LeftOfTurn(
      const Lines::value_type& entry, Clock::time_point now) const;
  // What tokens and pairs are predicted to take, beside what a batch does.
  [[nodiscard]] std::chrono::nanoseconds TimeOf(
      const Key& key, const ForwardTask::Size& size) const;
  [[nodiscard]] std::chrono::nanoseconds LeastServed() const;
  void ForgetIdleLines();

  const BatchLimits limits_;
  const CostModels& costs_;
  Lines lines_;
  std::unordered_map<const ForwardTask::Caller*, Place> places_;
};

}  // namespace attention
