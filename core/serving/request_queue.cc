// SPDX-License-Identifier: Apache-2.0
#include "core/serving/request_queue.h"

#include <utility>

namespace attention {
namespace {

// Tasks complete outside the lock: their callers are free to push.
void Refuse(ForwardTask& task) {
  task.Fail(absl::UnavailableError("the server is shutting down"));
}

}  // namespace

void RequestQueue::Push(std::unique_ptr<ForwardTask> task) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      tasks_.push_back(std::move(task));
      changed_.notify_one();
      return;
    }
  }
  Refuse(*task);
}

std::unique_ptr<ForwardTask> RequestQueue::Pop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
  if (tasks_.empty()) return nullptr;
  std::unique_ptr<ForwardTask> task = std::move(tasks_.front());
  tasks_.pop_front();
  return task;
}

void RequestQueue::Close() {
  std::deque<std::unique_ptr<ForwardTask>> refused;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    refused.swap(tasks_);
  }
  changed_.notify_all();
  for (const std::unique_ptr<ForwardTask>& task : refused) Refuse(*task);
}

}  // namespace attention
