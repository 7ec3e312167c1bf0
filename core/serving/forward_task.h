// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "core/attention/request.h"
#include "core/attention/request_plan.h"
#include "core/module/attention_module.h"
#include "core/parallel/compute_pool.h"

namespace attention {

class ServingObserver;

/// One validated request on its way through the executor.
///
/// Completes exactly once: by Run, by Fail, or else by its destructor.
/// Not thread-safe: handed from thread to thread, used by one at a time.
class ForwardTask {
 public:
  using Clock = std::chrono::steady_clock;

  /// Measured durations, and how many shared them; zero for a phase that was
  /// not reached.
  struct Times {
    std::chrono::nanoseconds queue{0};    ///< from creation to Run
    std::chrono::nanoseconds compute{0};  ///< allocating outputs included
    /// Requests computed together, this one included.
    std::uint32_t batch_size = 0;
  };

  /// Who asked. Owns what the task borrows (tensors and outputs).
  class Caller {
   public:
    virtual ~Caller() = default;
    /// Whether the result is no longer wanted; once true, stays. Thread-safe;
    /// must be quick.
    [[nodiscard]] virtual bool IsCancelled() const = 0;
    /// Make room for outputs of these shapes, of the query's dtype; called at
    /// most once, right before computing.
    /// May throw std::bad_alloc or std::length_error.
    [[nodiscard]] virtual AttentionOutputs AllocateOutputs(
        const OutputShapes& shapes, DataType dtype) = 0;
    /// Take the outcome; called exactly once. Must be quick and not throw.
    virtual void Complete(const absl::Status& status, const Times& times) = 0;
  };

  /// What to compute, and until when it is wanted.
  struct Work {
    std::shared_ptr<const AttentionModule> module;
    std::unique_ptr<RequestPlan> request;  ///< borrows from the caller
    Clock::time_point deadline = Clock::time_point::max();
  };

  /// \param caller is kept alive until the task has completed.
  ForwardTask(Work work, std::shared_ptr<Caller> caller);
  /// Complete with CANCELLED unless completed before.
  ~ForwardTask();
  ForwardTask(const ForwardTask&) = delete;
  ForwardTask& operator=(const ForwardTask&) = delete;

  /// Tell `observer`, who is borrowed, of the task from its submission, which
  /// is now.
  void Submit(ServingObserver& observer);

  /// Compute and complete. CANCELLED or DEADLINE_EXCEEDED, without computing,
  /// when the result is no longer wanted; RESOURCE_EXHAUSTED when memory is.
  void Run(ComputePool& pool);

  /// Complete with a failure.
  void Fail(const absl::Status& status);

  /// Who asked; not to be called once the task has completed.
  [[nodiscard]] const Caller& caller() const { return *caller_; }

 private:
  [[nodiscard]] absl::Status CheckWanted(Clock::time_point now) const;
  [[nodiscard]] absl::Status Compute(ComputePool& pool);
  void Complete(const absl::Status& status);

  Work work_;
  std::shared_ptr<Caller> caller_;       ///< null once completed
  ServingObserver* observer_ = nullptr;  ///< null until submitted
  const Clock::time_point created_ = Clock::now();
  Times times_;
};

}  // namespace attention
