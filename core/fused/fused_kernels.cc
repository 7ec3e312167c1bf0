// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_kernels.h"

#include <algorithm>
#include <tuple>

#include "core/onednn/shared_kernels.h"
#include "core/simd/multiply.h"

namespace attention {
namespace {

// The kernel of a page of `width` keys.
const Brgemm& OfWidth(const std::vector<Brgemm>& kernels, std::int64_t width) {
  return kernels[static_cast<std::size_t>(width / kKeyLanes - 1)];
}

// Call compute(page, at, width) for each page of a block, `at` counting from
// its first key.
template <typename Compute>
void ForEachPage(const FusedKernels::Block& block, const Compute& compute) {
  for (std::int64_t at = 0; at < block.width; at += kPageKeys) {
    compute((block.first + at) / kPageKeys, at,
            std::min(kPageKeys, block.width - at));
  }
}

}  // namespace

FusedKernels::FusedKernels(const PackedKeys& layout)
    : dtype_(layout.dtype),
      depth_(layout.key_depth()),
      columns_(layout.value_columns()) {
  if (dtype_ == DataType::kFloat32) return;
  for (std::int64_t width = kKeyLanes; width <= kPageKeys; width += kKeyLanes) {
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

void FusedKernels::MultiplyKeys(const Queries& queries, const Block& block,
                                float* scores) const {
  ForEachPage(block, [&](std::int64_t page, std::int64_t at,
                         std::int64_t width) {
    const std::byte* keys =
        block.packed.keys_of(block.sequence, block.head, page);
    if (dtype_ == DataType::kFloat32) {
      Multiply({.rows = queries.rows,
                .columns = width,
                .depth = depth_,
                .a = reinterpret_cast<const float*>(queries.data),
                .lda = queries.stride,
                .b = reinterpret_cast<const float*>(keys),
                .ldb = block.packed.key_stride(block.sequence, page),
                .c = scores + at,
                .ldc = kBlockKeys});
    } else {
      OfWidth(scores_, width)
          .Execute(queries.rows,
                   reinterpret_cast<const std::uint16_t*>(queries.data),
                   reinterpret_cast<const std::uint16_t*>(keys), scores + at);
    }
  });
}

void FusedKernels::MultiplyValues(std::int64_t rows, const std::byte* weights,
                                  const Block& block, float* sums) const {
  if (dtype_ == DataType::kFloat32) {
    return MultiplyFloatValues(rows, reinterpret_cast<const float*>(weights),
                               block, sums);
  }
  std::fill_n(sums, rows * columns_, 0.0F);
  ForEachPage(block, [&](std::int64_t page, std::int64_t at,
                         std::int64_t width) {
    OfWidth(values_, width)
        .Execute(rows, reinterpret_cast<const std::uint16_t*>(weights) + at,
                 reinterpret_cast<const std::uint16_t*>(
                     block.packed.values_of(block.sequence, block.head, page)),
                 sums);
  });
}

// The whole pages at once, be there none, then what a last one has: the same
// sums, one after the other. Padding, of weights 0, is left out.
void FusedKernels::MultiplyFloatValues(std::int64_t rows, const float* weights,
                                       const Block& block, float* sums) const {
  const PassSequence& sequence = block.sequence;
  const std::int64_t depth =
      std::min(block.width, sequence.sequence->num_columns() - block.first);
  const std::int64_t whole = std::clamp<std::int64_t>(
      sequence.padded_keys / kPageKeys * kPageKeys - block.first, 0, depth);
  const auto multiply = [&](std::int64_t first, std::int64_t count) {
    const std::byte* values = block.packed.values_of(
        block.sequence, block.head, (block.first + first) / kPageKeys);
    Multiply({.rows = rows,
              .columns = columns_,
              .depth = count,
              .a = weights + first,
              .lda = kBlockKeys,
              .b = reinterpret_cast<const float*>(values),
              .ldb = columns_,
              .c = sums,
              .ldc = columns_,
              .run = kPageKeys,
              .run_step = block.packed.num_heads * kPageKeys * columns_,
              .accumulate = first > 0});
  };
  if (whole > 0 || depth == 0) multiply(0, whole);
  if (whole < depth) multiply(whole, depth - whole);
}

std::shared_ptr<const FusedKernels> FusedKernels::Get(
    const PackedKeys& layout) {
  using Key = std::tuple<DataType, std::int64_t, std::int64_t>;
  static SharedKernels<Key, FusedKernels> shared;
  return shared.Get({layout.dtype, layout.key_depth(), layout.value_columns()},
                    [&] { return FusedKernels(layout); });
}

}  // namespace attention
