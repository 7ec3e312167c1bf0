// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/attention/packed_batch.h"
#include "core/attention/request.h"
#include "core/parallel/compute_pool.h"
#include "core/tensor/tensor.h"

namespace attention {

/// One attention layer with its weights packed, projections included; the parts
/// of a ModuleImplementation that an encoder has several of.
/// Immutable and thread-safe.
class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  /// As ModuleImplementation's.
  [[nodiscard]] virtual std::size_t memory_bytes() const = 0;
  [[nodiscard]] virtual std::size_t ScratchBytes(
      const PackedBatch& batch, std::size_t num_threads) const = 0;
  /// As ModuleImplementation's; outputs.output may be batch.query's memory,
  /// also where that is key and value, unless a sequence reads rows of another
  /// one: sequences may be computed one after the other. Within a
  /// ComputeThreadScope. Throws dnnl::error, std::bad_alloc.
  [[nodiscard]] virtual absl::Status Forward(const PackedBatch& batch,
                                             const AttentionOutputs& outputs,
                                             ComputePool& pool) const = 0;
};

/// Which rows a linear layer reads and writes: row sources[t] of the input
/// becomes row targets[t] of the output. Lifetime: borrows.
struct ProjectionRows {
  TensorView input;  ///< viewed as (rows, in); any floating dtype but float64
  std::span<const std::int64_t> sources;
  MutableTensorView output;  ///< viewed as (rows, out); likewise
  std::span<const std::int64_t> targets;
};

/// A linear layer y = f(x W^T + b) over tiles of rows, its weight packed once;
/// f is an activation, or nothing. weight [out, in], bias [out].
///
/// Work is a grid of row tiles by slices of columns. A row's bits depend on
/// nothing but the row. Immutable and thread-safe.
class LinearLayer {
 public:
  virtual ~LinearLayer() = default;

  [[nodiscard]] virtual std::int64_t num_items(
      const ProjectionRows& rows) const = 0;
  /// Compute one of num_items() pieces of the work. Throws dnnl::error.
  virtual void Compute(const ProjectionRows& rows, std::int64_t item,
                       std::byte* scratch) const = 0;
  [[nodiscard]] virtual std::size_t scratch_bytes() const = 0;
  /// Memory held: the packed weight and the bias.
  [[nodiscard]] virtual std::size_t memory_bytes() const = 0;
};

}  // namespace attention
