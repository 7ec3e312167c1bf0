// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/fused/packed_keys.h"
#include "core/onednn/brgemm.h"

namespace attention {

/// Keys of a block, whose softmax is computed against its own maximum. With 64
/// rows of queries its float32 scores take 128 KiB and its keys and values,
/// with heads of 64, 256 KiB: together well within a core's L2 cache. Smaller
/// blocks merge more often. Frozen, as bits depend on it.
inline constexpr std::int64_t kBlockKeys = 512;

/// The two multiplications of fused attention, for `rows` rows of one head of a
/// tile of queries and one block of keys of a sequence:
///
///   scores   S = Q K^T        Q [rows, D], K^T [D, w], S [rows, kBlockKeys]
///   values   O = P V          P [rows, kBlockKeys], V [w, Dv], O [rows, Dv],
///                             in float32 without the columns that are padding
///
/// with D and Dv as PackedKeys has them, and w a multiple of kKeyLanes up to
/// kBlockKeys, of which all pages but the last are whole. Sums run in
/// ascending order, over the keys by way of a sum for each page in bfloat16.
/// bfloat16's kernels are compiled when a module is loaded, so that no request
/// waits for it. Immutable and thread-safe.
class FusedKernels {
 public:
  /// Kernels for the packed layout, shared with all who have the same.
  /// Throws dnnl::error.
  [[nodiscard]] static std::shared_ptr<const FusedKernels> Get(
      const PackedKeys& layout);

  explicit FusedKernels(const PackedKeys& layout);

  /// Q [rows, D], with rows `stride` elements apart: D in bfloat16.
  struct Queries {
    const std::byte* data = nullptr;
    std::int64_t rows = 0;
    std::int64_t stride = 0;
  };
  /// A block of keys of one key head of a sequence.
  struct Block {
    const PackedKeys& packed;
    const PassSequence& sequence;
    std::int64_t head = 0;
    std::int64_t first = 0;  ///< a multiple of kBlockKeys
    std::int64_t width = 0;  ///< w
  };
  /// Compute S from the block's keys. Throws dnnl::error.
  void MultiplyKeys(const Queries& queries, const Block& block,
                    float* scores) const;
  /// Compute O from the block's values. Throws dnnl::error.
  void MultiplyValues(std::int64_t rows, const std::byte* weights,
                      const Block& block, float* sums) const;

 private:
  void MultiplyFloatValues(std::int64_t rows, const float* weights,
                           const Block& block, float* sums) const;

  DataType dtype_;
  std::int64_t depth_;    // D
  std::int64_t columns_;  // Dv
  // bfloat16: for pages of 16, 32, 48 and 64 keys.
  std::vector<Brgemm> scores_;
  std::vector<Brgemm> values_;
};

}  // namespace attention
