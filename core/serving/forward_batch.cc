// SPDX-License-Identifier: Apache-2.0
#include "core/serving/forward_batch.h"

#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "core/tensor/catch_bad_alloc.h"

namespace attention {
namespace {

using Clock = ForwardTask::Clock;

absl::Status Compute(const ModuleImplementation& implementation,
                     std::span<const Sequence> sequences, ComputePool& pool) {
  try {
    return CatchBadAlloc(
        [&] { return implementation.Forward(sequences, pool); });
  } catch (const std::exception&) {
    return absl::InternalError("the forward pass failed");
  }
}

// Throws std::bad_alloc.
std::vector<Sequence> Gather(const TaskLines::Tasks& tasks) {
  std::size_t num_sequences = 0;
  for (const auto& task : tasks) num_sequences += task->sequences().size();
  std::vector<Sequence> all;
  all.reserve(num_sequences);
  for (const auto& task : tasks) {
    all.insert(all.end(), task->sequences().begin(), task->sequences().end());
  }
  return all;
}

// Compute all of several tasks in one pass.
absl::Status ComputeAll(const TaskLines::Tasks& tasks, ComputePool& pool) {
  return CatchBadAlloc([&]() -> absl::Status {
    const std::vector<Sequence> sequences = Gather(tasks);
    const ModuleImplementation& implementation =
        tasks.front()->implementation();
    if (implementation.ScratchBytes(sequences, pool.num_threads()) >
        pool.reserved_bytes()) {
      return absl::ResourceExhaustedError("too much scratch for a batch");
    }
    return Compute(implementation, sequences, pool);
  });
}

void Start(const TaskLines::Tasks& tasks, ServingObserver* observer) {
  if (observer != nullptr) {
    ForwardTask::Size size;
    for (const auto& task : tasks) size += task->size();
    observer->OnBatchStarted(tasks.size(), size);
  }
  const auto batch_size = static_cast<std::uint32_t>(tasks.size());
  for (const auto& task : tasks) task->Start(batch_size);
}

// \return what was computed, in one pass.
ComputedWork Finish(TaskLines::Tasks& tasks, const absl::Status& status) {
  const Clock::time_point now = Clock::now();
  ComputedWork computed;
  for (; !tasks.empty(); tasks.pop_front()) {
    computed.size += tasks.front()->size();
    if (!tasks.front()->Finish(status, now)) computed.is_whole = false;
  }
  return computed;
}

}  // namespace

std::optional<ComputedWork> ComputeTogether(TaskLines::Tasks tasks,
                                            ComputePool& pool,
                                            ServingObserver* observer) {
  const Clock::time_point now = Clock::now();
  std::erase_if(tasks, [now](const auto& task) { return !task->Begin(now); });
  const std::size_t num_tasks = tasks.size();
  if (num_tasks > 1) {
    Start(tasks, observer);
    const absl::Status status = ComputeAll(tasks, pool);
    if (status.ok()) return Finish(tasks, status);
  }
  std::optional<ComputedWork> computed;
  while (!tasks.empty()) {
    TaskLines::Tasks one;
    one.splice(one.end(), tasks, tasks.begin());
    const ForwardTask& task = *one.front();
    Start(one, observer);
    computed =
        Finish(one, Compute(task.implementation(), task.sequences(), pool));
  }
  return num_tasks == 1 ? computed : std::nullopt;
}

}  // namespace attention
