// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "core/parallel/compute_pool.h"
#include "core/serving/serving_observer.h"
#include "core/serving/task_lines.h"

namespace attention {

/// What a pass has computed.
struct ComputedWork {
  ForwardTask::Size size;
  bool is_whole = true;  ///< else some of it was given up on the way
};

/// Compute tasks of one implementation together, each bit for bit as alone, and
/// complete them. Where that fails, or takes more scratch than the pool holds
/// in reserve, each is computed alone, so that it fails alone and takes what it
/// has reserved.
/// \param observer is told what is computed together; null for none.
/// \return what was computed; none if that was not in one pass.
[[nodiscard]] std::optional<ComputedWork> ComputeTogether(
    TaskLines::Tasks tasks, ComputePool& pool,
    ServingObserver* observer = nullptr);

}  // namespace attention
