// SPDX-License-Identifier: Apache-2.0
#include "core/serving/executor.h"

#include <utility>

namespace attention {

Executor::Executor(std::size_t num_threads, Pinning pinning,
                   ServingObserver* observer)
    : observer_(observer),
      pool_(num_threads, pinning),
      thread_([this, pinning] { RunLoop(pinning); }) {}

Executor::~Executor() { queue_.Close(); }

void Executor::Submit(std::unique_ptr<ForwardTask> task) {
  if (observer_ != nullptr) task->Submit(*observer_);
  queue_.Push(std::move(task));
}

void Executor::DropCancelled(const ForwardTask::Caller& caller) {
  queue_.DropCancelled(caller);
}

void Executor::RunLoop(Pinning pinning) {
  if (pinning == Pinning::kPinned) PinThisThread(0);
  // Each task dies before the next is waited for: nothing of it lingers.
  while (const std::unique_ptr<ForwardTask> task = queue_.Pop()) {
    task->Run(pool_);
  }
}

}  // namespace attention
