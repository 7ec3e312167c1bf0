// SPDX-License-Identifier: Apache-2.0
#include "core/serving/executor.h"

#include <chrono>
#include <optional>
#include <utility>

#include "core/serving/forward_batch.h"

namespace attention {
namespace {

using Clock = ForwardTask::Clock;
using std::chrono::nanoseconds;

// How often a large request looks for small ones: what these wait at least is
// nothing beside it.
constexpr std::chrono::microseconds kLookInterval{100};

}  // namespace

/// The turns of small requests that come in between while a large one has its
/// own.
class Executor::SmallTurns final : public ComputePool::Interlude {
 public:
  SmallTurns(Executor& executor, nanoseconds served)
      : executor_(executor), served_(served) {
    executor_.pool_.SetInterlude(this);
  }
  ~SmallTurns() override { executor_.pool_.SetInterlude(nullptr); }
  SmallTurns(const SmallTurns&) = delete;
  SmallTurns& operator=(const SmallTurns&) = delete;

  bool IsDue() override {
    const Clock::time_point now = Clock::now();
    if (now - last_look_ < kLookInterval) return false;
    last_look_ = now;
    return executor_.queue_.HasSmall(served_ + Elapsed(now));
  }

  void Play() override {
    const Clock::time_point start = Clock::now();
    std::optional<RequestQueue::Turn> turn =
        executor_.queue_.TakeSmall(served_ + Elapsed(start));
    if (!turn) return;  // cancelled meanwhile
    executor_.Compute(*std::move(turn));
    taken_ += Clock::now() - start;
  }

  /// Time since it was made, without what the small turns took.
  [[nodiscard]] nanoseconds Elapsed(Clock::time_point now) const {
    return now - start_ - taken_;
  }

 private:
  Executor& executor_;
  const nanoseconds served_;  // the large request's line, before its turn
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_look_ = start_;
  nanoseconds taken_{0};
};

Executor::Executor(const Options& options, ServingObserver* observer)
    : observer_(observer),
      at_most_here_(options.pinning == Pinning::kPinned ? nanoseconds(0)
                                                        : options.tiny_time),
      pool_(options.num_threads, options.pinning),
      queue_(options.batch, options.time),
      thread_([this, pinning = options.pinning] { RunLoop(pinning); }) {}

Executor::~Executor() { queue_.Close(); }

void Executor::SubmitOrCompute(std::unique_ptr<ForwardTask> task,
                               nanoseconds at_most) {
  if (observer_ != nullptr) task->Submit(*observer_);
  std::optional<RequestQueue::Turn> turn =
      queue_.PushOrBegin(std::move(task), at_most);
  if (turn) Compute(*std::move(turn));
}

void Executor::DropCancelled(const ForwardTask::Caller& caller) {
  queue_.DropCancelled(caller);
}

void Executor::RunLoop(Pinning pinning) {
  if (pinning == Pinning::kPinned) PinThisThread(0);
  while (std::optional<RequestQueue::Turn> turn = queue_.Take()) {
    if (turn->line.is_large) {
      ComputeLarge(*std::move(turn));
    } else {
      Compute(*std::move(turn));
    }
  }
}

void Executor::Compute(RequestQueue::Turn turn) {
  const Clock::time_point start = Clock::now();
  const std::optional<ComputedWork> computed =
      ComputeTogether(std::move(turn.tasks), pool_, observer_);
  queue_.Return(turn.line, Clock::now() - start, computed);
}

void Executor::ComputeLarge(RequestQueue::Turn turn) {
  nanoseconds took{0};
  std::optional<ComputedWork> computed;
  {
    SmallTurns small(*this, turn.served);
    computed = ComputeTogether(std::move(turn.tasks), pool_, observer_);
    took = small.Elapsed(Clock::now());
  }
  queue_.Return(turn.line, took, computed);
}

}  // namespace attention
