// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "core/attention/compute_pool.h"
#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/attention/request.h"
#include "core/attention/weights.h"
#include "core/onednn/compute_path.h"

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

/// Make an attention layer. Throws dnnl::error, std::bad_alloc.
[[nodiscard]] std::unique_ptr<const AttentionLayer> MakeAttentionLayer(
    const ComputePath& path, const AttentionSpec& spec,
    const AttentionWeights& weights);

}  // namespace attention
