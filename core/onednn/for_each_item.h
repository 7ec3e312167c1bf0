// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "absl/status/status.h"
#include "core/attention/compute_pool.h"
#include "core/onednn/catch_dnnl.h"
#include "core/onednn/compute_thread.h"

namespace attention {

/// Call `work(item, thread, scratch)` for every item in [0, num_items) on the
/// pool, each thread with `scratch_bytes` of its own. `work` may throw
/// dnnl::error and std::bad_alloc.
/// \return what was thrown, or CANCELLED when the pool was asked to stop.
template <typename Work>
[[nodiscard]] absl::Status ForEachItem(ComputePool& pool,
                                       std::int64_t num_items,
                                       std::size_t scratch_bytes,
                                       const Work& work) {
  std::mutex mutex;
  absl::Status status;
  pool.Run(num_items, [&](std::int64_t item, std::size_t thread) {
    const ComputeThreadScope scope;
    const absl::Status result =
        pool.StopRequested() ? absl::CancelledError("stopped") : CatchDnnl([&] {
          work(item, thread, pool.Scratch(thread, scratch_bytes));
        });
    if (result.ok()) return;
    const std::lock_guard lock(mutex);
    status.Update(result);
  });
  return status;
}

}  // namespace attention
