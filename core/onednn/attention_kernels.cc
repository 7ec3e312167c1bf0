// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_kernels.h"

#include <algorithm>
#include <new>

#include "core/tensor/round_up.h"
#include "core/tensor/tensor.h"

namespace attention {
namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
constexpr auto kF32 = dnnl::memory::data_type::f32;

// Heads of `rows` rows of a row-major [rows, width] matrix: [heads, rows, D].
struct Heads {
  std::int64_t num_heads;
  std::int64_t rows;
  std::int64_t head_dim;
  std::int64_t width;

  [[nodiscard]] Desc desc() const {
    return Desc(Dims{num_heads, rows, head_dim}, kF32,
                Dims{head_dim, width, 1});
  }
  // The same, each head transposed: [heads, D, rows].
  [[nodiscard]] Desc transposed() const {
    return Desc(Dims{num_heads, head_dim, rows}, kF32,
                Dims{head_dim, 1, width});
  }
};

Desc Scores(const AttentionShape& shape) {
  return Desc(Dims{shape.num_heads, shape.height, shape.columns}, kF32,
              dnnl::memory::format_tag::abc);
}

}  // namespace

AttentionKernels::AttentionKernels(const AttentionShape& shape)
    : scores({.src = Heads{shape.num_heads, shape.height, shape.head_dim,
                           shape.query_width}
                         .desc(),
              .weights = Heads{shape.num_key_value_heads, shape.columns,
                               shape.head_dim, shape.key_width}
                             .transposed(),
              .dst = Scores(shape),
              .bias = {},
              .eltwise = MatmulKernel::Eltwise{dnnl::algorithm::eltwise_linear,
                                               shape.scale}}),
      softmax(shape.num_heads * shape.height, shape.columns),
      values({.src = Scores(shape),
              .weights = Heads{shape.num_key_value_heads, shape.columns,
                               shape.value_head_dim, shape.value_width}
                             .desc(),
              .dst = Heads{shape.num_heads, shape.height, shape.value_head_dim,
                           shape.output_width}
                         .desc(),
              .bias = {},
              .eltwise = {}}),
      scratchpad_bytes(RoundUp(
          std::max({scores.scratchpad_bytes(), softmax.scratchpad_bytes(),
                    values.scratchpad_bytes()}),
          kTensorAlignment)) {}

std::shared_ptr<const AttentionKernels> AttentionKernelCache::Get(
    const AttentionShape& shape) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(shape); found != entries_.end()) {
    uses_.splice(uses_.begin(), uses_, found->second.use);
    return found->second.kernels;
  }
  auto kernels = std::make_shared<const AttentionKernels>(shape);
  while (entries_.size() >= kCapacity) {
    entries_.erase(uses_.back());
    uses_.pop_back();
  }
  uses_.push_front(shape);
  try {
    entries_.emplace(shape, Entry{kernels, uses_.begin()});
  } catch (const std::bad_alloc&) {
    uses_.pop_front();
    throw;
  }
  return kernels;
}

AttentionKernelCache& AttentionKernelCache::Process() {
  static AttentionKernelCache cache;
  return cache;
}

}  // namespace attention
