// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/parallel/compute_pool.h"
#include "core/tensor/data_type.h"

namespace attention::bench {

/// Measure the most that matmuls reach on this machine: every thread of the
/// pool repeats a 1024 x 1024 x 1024 oneDNN matmul of its own with packed
/// weights, operands of `dtype` and a float32 result. The best of several
/// tries. Throws dnnl::error.
/// \return floating-point operations per second, of all threads together.
[[nodiscard]] double MeasureMatmulPeak(DataType dtype, ComputePool& pool);

}  // namespace attention::bench
