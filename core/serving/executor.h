// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>

#include "core/parallel/compute_pool.h"
#include "core/serving/forward_task.h"
#include "core/serving/request_queue.h"
#include "core/serving/serving_observer.h"

namespace attention {

// The room `core/serving`: what stands between a validated request and its
// computation: the budget (AdmissionController), the queue, the thread that
// computes, and who is told of it (ServingObserver). Enters: ForwardTasks,
// whose caller owns inputs and outputs. Uses core/module and what lies below
// it; knows no protocol.

/// The thread that computes, driving a pool of its own.
///
/// As soon as it is free it takes what waits for its turn, requests of one
/// module together as far as the limits allow (TaskLines). While it computes a
/// request that is larger than a batch, smaller ones come in between as soon as
/// their turn has come, behind the item under way. Thread-safe.
class Executor {
 public:
  /// What it works with.
  struct Options {
    std::size_t num_threads = 1;  ///< its own included; [1, 1024]
    Pinning pinning = Pinning::kNone;
    BatchLimits batch = {};
    TimeLimits time = {};
    /// What ComputeOrSubmit computes at most: some times what it takes to wake
    /// two threads. Threads that are pinned compute all.
    std::chrono::nanoseconds tiny_time = std::chrono::microseconds(200);
  };

  /// \param observer of every task; borrowed, null for none.
  explicit Executor(const Options& options,
                    ServingObserver* observer = nullptr);
  /// Fail what is queued with UNAVAILABLE and wait for what is being computed,
  /// be it by who has submitted it.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  [[nodiscard]] std::size_t num_threads() const { return pool_.num_threads(); }

  /// Queue a task; it completes on the executor's thread, or here when its
  /// caller has cancelled or the queue refuses it. Never blocks.
  void Submit(std::unique_ptr<ForwardTask> task) {
    SubmitOrCompute(std::move(task), std::chrono::nanoseconds(0));
  }
  /// The same, but compute it here if nothing else is to be computed and it is
  /// predicted to take no longer than Options::tiny_time.
  /// For those who have nothing more to submit.
  void ComputeOrSubmit(std::unique_ptr<ForwardTask> task) {
    SubmitOrCompute(std::move(task), at_most_here_);
  }

  /// Complete the task of a caller that has cancelled, here and now, if it is
  /// queued. One that is being computed stops by itself. O(1).
  void DropCancelled(const ForwardTask::Caller& caller);

  /// What waits and is computed, as far as it can be foreseen.
  [[nodiscard]] RequestQueue::Outlook LookAhead() const {
    return queue_.LookAhead();
  }

 private:
  class SmallTurns;

  void SubmitOrCompute(std::unique_ptr<ForwardTask> task,
                       std::chrono::nanoseconds at_most);
  void RunLoop(Pinning pinning);
  void Compute(RequestQueue::Turn turn);
  void ComputeLarge(RequestQueue::Turn turn);

  ServingObserver* const observer_;
  const std::chrono::nanoseconds at_most_here_;  ///< ComputeOrSubmit computes
  ComputePool pool_;
  RequestQueue queue_;
  std::jthread thread_;  ///< last: starts when the rest is there
};

}  // namespace attention
