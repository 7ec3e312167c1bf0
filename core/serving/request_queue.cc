// SPDX-License-Identifier: Apache-2.0
#include "core/serving/request_queue.h"

#include <utility>

#include "core/tensor/catch_bad_alloc.h"

namespace attention {
namespace {

absl::Status Closed() {
  return absl::UnavailableError("the server is shutting down");
}

absl::Status Cancelled() {
  return absl::CancelledError("the client cancelled the request");
}

}  // namespace

// Tasks complete outside the lock everywhere: their callers are free to push.

void RequestQueue::Push(std::unique_ptr<ForwardTask> task) {
  const absl::Status pushed = CatchBadAlloc([&] { return TryPush(task); });
  if (!pushed.ok()) task->Fail(pushed);
}

absl::Status RequestQueue::TryPush(std::unique_ptr<ForwardTask>& task) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Closed();
  // Under the lock: a caller that cancels later finds its task by
  // DropCancelled, one that did so earlier is seen here.
  const ForwardTask::Caller& caller = task->caller();
  if (caller.IsCancelled()) return Cancelled();
  Tasks one;
  one.push_back(nullptr);
  places_.emplace(&caller, one.begin());
  one.front() = std::move(task);
  tasks_.splice(tasks_.end(), one);  // keeps the iterator valid
  changed_.notify_one();
  return absl::OkStatus();
}

std::unique_ptr<ForwardTask> RequestQueue::Pop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
  if (tasks_.empty()) return nullptr;
  std::unique_ptr<ForwardTask> task = std::move(tasks_.front());
  tasks_.pop_front();
  places_.erase(&task->caller());
  return task;
}

void RequestQueue::DropCancelled(const ForwardTask::Caller& caller) {
  std::unique_ptr<ForwardTask> task;
  {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(&caller);
    if (found == places_.end()) return;
    task = std::move(*found->second);
    tasks_.erase(found->second);
    places_.erase(found);
  }
  task->Fail(Cancelled());
}

void RequestQueue::Close() {
  Tasks refused;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    refused.swap(tasks_);
    places_.clear();
  }
  changed_.notify_all();
  for (const std::unique_ptr<ForwardTask>& task : refused) {
    task->Fail(Closed());
  }
}

}  // namespace attention
