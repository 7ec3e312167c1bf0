// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/parallel/compute_pool.h"
#include "core/serving/task_lines.h"

namespace attention {

/// Compute tasks of one implementation together, each bit for bit as alone, and
/// complete them. Where that fails, or takes more scratch than the pool holds
/// in reserve, each is computed alone, so that it fails alone and takes what it
/// has reserved.
void ComputeTogether(TaskLines::Tasks tasks, ComputePool& pool);

}  // namespace attention
