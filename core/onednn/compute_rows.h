// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "core/attention/head_rows.h"
#include "core/attention/layer.h"
#include "core/parallel/compute_pool.h"

namespace attention {

/// Compute a linear layer for all of `rows` on the pool.
/// \return what was thrown, or CANCELLED when the pool was asked to stop.
[[nodiscard]] absl::Status ComputeRows(const LinearLayer& layer,
                                       const ProjectionRows& rows,
                                       ComputePool& pool);

/// Hand `rows`, [rows, width], over as they are, to an output whose heads lie
/// as `heads` says: what takes the place of ComputeRows without an output
/// projection. \return as ComputeRows.
[[nodiscard]] absl::Status CopyRows(const ProjectionRows& rows,
                                    std::int64_t width, const HeadRows& heads,
                                    ComputePool& pool);
/// What CopyRows needs of a thread's scratch.
[[nodiscard]] constexpr std::size_t CopyRowsScratchBytes(std::int64_t width) {
  return static_cast<std::size_t>(width) * sizeof(float);
}

}  // namespace attention
