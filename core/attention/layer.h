// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/attention/request_plan.h"
#include "core/attention/weights.h"
#include "core/parallel/compute_pool.h"

namespace attention {

// The parts of a ModuleImplementation that an encoder has several of. Immutable
// and thread-safe.

/// One attention layer with its weights packed, projections included.
class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  /// The weights as the layer holds them, in float32: those it was made of, or
  /// what they became in the dtype it computes in. Throws dnnl::error,
  /// std::bad_alloc.
  [[nodiscard]] virtual AttentionWeights Unpack() const = 0;
  /// As ModuleImplementation's.
  [[nodiscard]] virtual std::size_t memory_bytes() const = 0;
  [[nodiscard]] virtual std::size_t ScratchBytes(
      std::span<const Sequence> sequences, std::size_t num_threads) const = 0;
  /// As ModuleImplementation's, as layer `layer` of a stack: dropout depends on
  /// it. A sequence's output may be its own query's memory, also where that is
  /// its key and value. Within a ComputeThreadScope. Throws dnnl::error,
  /// std::bad_alloc.
  [[nodiscard]] virtual absl::Status Forward(
      std::span<const Sequence> sequences, std::uint32_t layer,
      ComputePool& pool) const = 0;
};

/// A linear layer y = f(x W^T + b), its weight packed once; f is an activation,
/// or nothing. weight [out, in], bias [out].
class LinearLayer {
 public:
  virtual ~LinearLayer() = default;

  /// Compute rows x [num_rows, in] into y [num_rows, out], float32. A row's
  /// bits depend on nothing but the row. Throws dnnl::error, std::bad_alloc.
  [[nodiscard]] virtual absl::Status Compute(const float* x,
                                             std::int64_t num_rows, float* y,
                                             ComputePool& pool) const = 0;
  /// As AttentionLayer's.
  [[nodiscard]] virtual LinearWeights Unpack() const = 0;
  /// Memory a thread works in.
  [[nodiscard]] virtual std::size_t scratch_bytes() const = 0;
  /// Memory held: the packed weight and the bias.
  [[nodiscard]] virtual std::size_t memory_bytes() const = 0;
};

}  // namespace attention
