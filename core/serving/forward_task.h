// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "core/attention/module_implementation.h"
#include "core/attention/request.h"
#include "core/attention/request_plan.h"
#include "core/module/attention_module.h"

namespace attention {

class ServingObserver;

/// One validated request on its way through the executor.
///
/// Completes exactly once: by Finish, by Fail, when Begin says so, or else by
/// its destructor. Not thread-safe: handed from thread to thread, used by one
/// at a time.
class ForwardTask {
 public:
  using Clock = std::chrono::steady_clock;

  /// Measured durations, and how many shared them; zero for a phase that was
  /// not reached.
  struct Times {
    std::chrono::nanoseconds queue{0};  ///< from creation to Begin
    /// From Begin to Finish: of all requests computed together.
    std::chrono::nanoseconds compute{0};
    /// Requests computed together, this one included.
    std::uint32_t batch_size = 0;
  };

  /// How much work it is.
  struct Size {
    std::int64_t tokens = 0;  ///< of each sequence the longer of L and S
    std::int64_t pairs = 0;   ///< of each sequence L S

    Size& operator+=(const Size& other) {
      tokens += other.tokens;
      pairs += other.pairs;
      return *this;
    }
    Size& operator-=(const Size& other) {
      tokens -= other.tokens;
      pairs -= other.pairs;
      return *this;
    }
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

  /// Make room for the outputs, right before computing.
  /// \return whether to compute it; if not, it has completed: with CANCELLED or
  ///   DEADLINE_EXCEEDED when the result is no longer wanted,
  ///   RESOURCE_EXHAUSTED when memory is.
  [[nodiscard]] bool Begin(Clock::time_point now);
  /// It is computed from now on, `batch_size` requests together; again, if that
  /// comes to nothing.
  void Start(std::uint32_t batch_size);
  /// Complete with what came of computing it: as Begin, if it was stopped.
  /// \return whether all of it was computed.
  [[nodiscard]] bool Finish(const absl::Status& status, Clock::time_point now);

  /// Complete with a failure.
  void Fail(const absl::Status& status);

  // Not to be called once the task has completed:

  [[nodiscard]] const Caller& caller() const { return *caller_; }
  [[nodiscard]] std::span<const Sequence> sequences() const {
    return work_.request->sequences;
  }
  /// What computes it.
  [[nodiscard]] const ModuleImplementation& implementation() const {
    return work_.module->implementation(work_.request->dtype);
  }

  [[nodiscard]] const std::shared_ptr<const AttentionModule>& module() const {
    return work_.module;
  }
  [[nodiscard]] const Size& size() const { return size_; }
  [[nodiscard]] Clock::time_point deadline() const { return work_.deadline; }
  [[nodiscard]] Clock::time_point created() const { return created_; }

 private:
  [[nodiscard]] absl::Status CheckWanted(Clock::time_point now) const;
  [[nodiscard]] absl::Status Bind();
  void Complete(const absl::Status& status);

  Work work_;
  std::shared_ptr<Caller> caller_;       ///< null once completed
  ServingObserver* observer_ = nullptr;  ///< null until submitted
  const Size size_;
  const Clock::time_point created_ = Clock::now();
  Clock::time_point begun_;
  Times times_;
};

}  // namespace attention
