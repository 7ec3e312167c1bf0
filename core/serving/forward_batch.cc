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

void Start(const TaskLines::Tasks& tasks, std::uint32_t batch_size) {
  for (const auto& task : tasks) task->Start(batch_size);
}

void Finish(TaskLines::Tasks& tasks, const absl::Status& status) {
  const Clock::time_point now = Clock::now();
  for (; !tasks.empty(); tasks.pop_front()) tasks.front()->Finish(status, now);
}

}  // namespace

void ComputeTogether(TaskLines::Tasks tasks, ComputePool& pool) {
  const Clock::time_point now = Clock::now();
  std::erase_if(tasks, [now](const auto& task) { return !task->Begin(now); });
  if (tasks.size() > 1) {
    Start(tasks, static_cast<std::uint32_t>(tasks.size()));
    const absl::Status status = ComputeAll(tasks, pool);
    if (status.ok()) return Finish(tasks, status);
  }
  while (!tasks.empty()) {
    TaskLines::Tasks one;
    one.splice(one.end(), tasks, tasks.begin());
    const ForwardTask& task = *one.front();
    Start(one, 1);
    Finish(one, Compute(task.implementation(), task.sequences(), pool));
  }
}

}  // namespace attention
