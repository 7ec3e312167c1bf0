// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_kernels.h"

#include <algorithm>
#include <tuple>

#include "core/onednn/shared_kernels.h"
#include "core/simd/multiply.h"

namespace attention {
namespace {

// The kernel of a chunk of `width` keys.
const Brgemm& OfWidth(const std::vector<Brgemm>& kernels, std::int64_t width) {
  return kernels[static_cast<std::size_t>(width / kKeyLanes - 1)];
}

// Call compute(at, width) for each chunk of a block.
template <typename Compute>
void ForEachChunk(std::int64_t block_width, const Compute& compute) {
  for (std::int64_t at = 0; at < block_width; at += kChunkKeys) {
    compute(at, std::min(kChunkKeys, block_width - at));
  }
}

}  // namespace

FusedKernels::FusedKernels(const PackedKeys& layout)
    : dtype_(layout.dtype),
      depth_(layout.key_depth()),
      columns_(layout.value_columns()) {
  if (dtype_ == DataType::kFloat32) return;
  for (std::int64_t width = kKeyLanes; width <= kChunkKeys;
       width += kKeyLanes) {
    scores_.emplace_back(Brgemm::Shape{.columns = width,
                                       .depth = depth_,
                                       .lda = depth_,
                                       .ldb = width,
                                       .ldc = kBlockKeys});
    values_.emplace_back(Brgemm::Shape{.columns = columns_,
                                       .depth = width,
                                       .lda = kBlockKeys,
                                       .ldb = columns_,
                                       .ldc = columns_,
                                       .accumulate = true});
  }
}

void FusedKernels::MultiplyKeys(const Queries& queries, const std::byte* keys,
                                std::int64_t width, float* scores) const {
  ForEachChunk(width, [&](std::int64_t at, std::int64_t chunk_width) {
    if (dtype_ == DataType::kFloat32) {
      Multiply({.rows = queries.rows,
                .columns = chunk_width,
                .depth = depth_,
                .a = reinterpret_cast<const float*>(queries.data),
                .lda = queries.stride,
                .b = reinterpret_cast<const float*>(keys) + at * depth_,
                .ldb = chunk_width,
                .c = scores + at,
                .ldc = kBlockKeys});
    } else {
      OfWidth(scores_, chunk_width)
          .Execute(queries.rows,
                   reinterpret_cast<const std::uint16_t*>(queries.data),
                   reinterpret_cast<const std::uint16_t*>(keys) + at * depth_,
                   scores + at);
    }
  });
}

void FusedKernels::MultiplyValues(std::int64_t rows, const std::byte* weights,
                                  const std::byte* values, std::int64_t width,
                                  float* sums) const {
  if (dtype_ == DataType::kFloat32) {
    return Multiply({.rows = rows,
                     .columns = columns_,
                     .depth = width,
                     .a = reinterpret_cast<const float*>(weights),
                     .lda = kBlockKeys,
                     .b = reinterpret_cast<const float*>(values),
                     .ldb = columns_,
                     .c = sums,
                     .ldc = columns_});
  }
  std::fill_n(sums, rows * columns_, 0.0F);
  ForEachChunk(width, [&](std::int64_t at, std::int64_t chunk_width) {
    OfWidth(values_, chunk_width)
        .Execute(rows, reinterpret_cast<const std::uint16_t*>(weights) + at,
                 reinterpret_cast<const std::uint16_t*>(values) + at * columns_,
                 sums);
  });
}

std::shared_ptr<const FusedKernels> FusedKernels::Get(
    const PackedKeys& layout) {
  using Key = std::tuple<DataType, std::int64_t, std::int64_t>;
  static SharedKernels<Key, FusedKernels> shared;
  return shared.Get({layout.dtype, layout.key_depth(), layout.value_columns()},
                    [&] { return FusedKernels(layout); });
}

}  // namespace attention
