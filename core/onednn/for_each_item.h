// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "absl/status/status.h"
#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"
#include "core/parallel/compute_pool.h"

namespace attention {

/// Call `work(item, thread, scratch)` for every item in [0, num_items) on the
/// pool, each thread with `scratch_bytes` of its own. `work` may throw
/// dnnl::error and std::bad_alloc.
/// \return what was thrown.
template <typename Work>
[[nodiscard]] absl::Status ForEachItem(ComputePool& pool,
                                       std::int64_t num_items,
                                       std::size_t scratch_bytes,
                                       const Work& work) {
  std::mutex mutex;
  absl::Status status;
  pool.Run(num_items, [&](std::int64_t item, std::size_t thread) {
    const ComputeThreadScope scope;
    const absl::Status result = CatchDnnl(
        [&] { work(item, thread, pool.Scratch(thread, scratch_bytes)); });
    if (result.ok()) return;
    const std::lock_guard lock(mutex);
    status.Update(result);
  });
  return status;
}

/// Call ForEachItem for the items of several steps, which have num_items() and
/// Compute(item, scratch): together, so that no thread waits between them.
template <typename Steps>
[[nodiscard]] absl::Status ForEachItemOf(ComputePool& pool, const Steps& steps,
                                         std::size_t scratch_bytes) {
  std::int64_t num_items = 0;
  for (const auto& step : steps) num_items += step.num_items();
  return ForEachItem(pool, num_items, scratch_bytes,
                     [&](std::int64_t item, std::size_t, std::byte* scratch) {
                       for (const auto& step : steps) {
                         const std::int64_t count = step.num_items();
                         if (item < count) return step.Compute(item, scratch);
                         item -= count;
                       }
                     });
}

}  // namespace attention
