// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
#include "core/parallel/compute_pool.h"

namespace attention {

/// The forward pass of one module's weights: attention alone,
///
///   O = concat_h(softmax(scale Q_h K_h^T + M) V_h) W_o^T + b_o
///
/// with Q = query W_q^T + b_q and likewise K and V, projections there may be
/// none of, or a stack of encoder layers (see AttentionSpec and EncoderSpec).
/// Implementations: the double-precision reference, and packed layers.
/// Immutable, so thread-safe, given that each call has a pool of its own.
/// Source: Vaswani et al. 2017, "Attention is all you need", section 3.2.
class ModuleImplementation {
 public:
  virtual ~ModuleImplementation() = default;

  /// Name reported to callers, such as "reference".
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// dtype the pass computes in.
  [[nodiscard]] virtual DataType compute_dtype() const = 0;
  /// Memory its weights take as it holds them, in bytes. Compiled kernels,
  /// which modules of the same sizes share, are not counted.
  [[nodiscard]] virtual std::size_t memory_bytes() const = 0;
  /// Upper bound, in bytes, of the memory Forward will allocate, beside a
  /// bounded cache of compiled kernels.
  [[nodiscard]] virtual std::size_t ScratchBytes(
      std::span<const Sequence> sequences, std::size_t num_threads) const = 0;

  /// Compute sequences, of one request or of many, into the outputs their
  /// requests are bound to: each bit for bit as it would be alone. Every
  /// element is written, but of requests that are stopped meanwhile
  /// (RequestPlan::was_stopped): these are left unfinished, and the others are
  /// not touched by it.
  /// \return RESOURCE_EXHAUSTED when memory cannot be allocated, INTERNAL when
  ///   a primitive fails: all outputs are undefined then.
  [[nodiscard]] virtual absl::Status Forward(
      std::span<const Sequence> sequences, ComputePool& pool) const = 0;
};

}  // namespace attention
