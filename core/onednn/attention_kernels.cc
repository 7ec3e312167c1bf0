// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "core/onednn/round_up.h"
#include "core/tensor/tensor.h"

namespace attention {
namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
constexpr auto kF32 = dnnl::memory::data_type::f32;

// G heads of `rows` rows of a row-major [rows, E] matrix: [G, rows, D].
Desc Heads(const AttentionShape& shape, std::int64_t rows) {
  return Desc(Dims{shape.num_heads, rows, shape.head_dim}, kF32,
              Dims{shape.head_dim, shape.embed_dim, 1});
}

// The same, each head transposed: [G, D, rows].
Desc TransposedHeads(const AttentionShape& shape, std::int64_t rows) {
  return Desc(Dims{shape.num_heads, shape.head_dim, rows}, kF32,
              Dims{shape.head_dim, 1, shape.embed_dim});
}

Desc Scores(const AttentionShape& shape) {
  return Desc(Dims{shape.num_heads, shape.height, shape.columns}, kF32,
              dnnl::memory::format_tag::abc);
}

}  // namespace

AttentionKernels::AttentionKernels(const AttentionShape& shape)
    : scores({.src = Heads(shape, shape.height),
              .weights = TransposedHeads(shape, shape.columns),
              .dst = Scores(shape),
              .bias = {},
              .scale = static_cast<float>(
                  1.0 / std::sqrt(static_cast<double>(shape.head_dim)))}),
      softmax(shape.num_heads * shape.height, shape.columns),
      values({.src = Scores(shape),
              .weights = Heads(shape, shape.columns),
              .dst = Heads(shape, shape.height),
              .bias = {}}),
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
