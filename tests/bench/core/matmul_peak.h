// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/parallel/compute_pool.h"
#include "core/tensor/data_type.h"

namespace attention::bench {

/// A product of [rows, depth] and [depth, columns].
struct MatmulSize {
  std::int64_t rows = 0;
  std::int64_t depth = 0;
  std::int64_t columns = 0;
};

/// What a way to multiply reaches.
struct MatmulPeak {
  std::string name;
  double flops = 0.0;  ///< operations per second, of all threads together
};

/// Measure the most that the core's matmuls reach, all threads of the pool at
/// work: oneDNN's, where each thread has one of its own with a packed weight,
/// operands of `dtype` and a float32 result, if it has such a one; and the
/// linear layer that modules of `dtype` are made of here, where all share one
/// of float32 inputs. The fastest of the calls that fit into a second. Throws
/// dnnl::error, std::bad_alloc, std::runtime_error.
[[nodiscard]] std::vector<MatmulPeak> MeasureMatmulPeaks(const MatmulSize& size,
                                                         DataType dtype,
                                                         ComputePool& pool);

}  // namespace attention::bench
