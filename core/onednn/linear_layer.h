// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "core/attention/compute_pool.h"
#include "core/attention/head_rows.h"
#include "core/attention/weights.h"
#include "core/onednn/compute_path.h"
#include "core/tensor/tensor.h"

namespace attention {

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

/// Make a linear layer. Throws dnnl::error, std::bad_alloc.
[[nodiscard]] std::unique_ptr<const LinearLayer> MakeLinearLayer(
    const ComputePath& path, const LinearWeights& weights,
    std::optional<Activation> activation);

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
