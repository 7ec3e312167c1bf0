// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/onednn/brgemm.h"
#include "core/onednn/packed_keys.h"

namespace attention {

/// Keys of a block, whose softmax is computed against its own maximum. With 64
/// rows of queries its float32 scores take 128 KiB and its keys and values,
/// with heads of 64, 256 KiB: together well within a core's L2 cache. Smaller
/// blocks merge more often. Frozen, as bits depend on it.
inline constexpr std::int64_t kBlockKeys = 512;

/// The two multiplications of fused attention, for `rows` rows of one head of a
/// tile of queries and one chunk of keys:
///
///   scores   S = Q K^T        Q [rows, D], K^T [D, w], S [rows, kBlockKeys]
///   values   O = O + P V      P [rows, kBlockKeys], V [w, Dv], O [rows, Dv]
///
/// with D and Dv as PackedKeys has them. Compiled for every w when a module is
/// loaded, so that no request waits for it. Immutable and thread-safe.
class FusedKernels {
 public:
  /// Kernels for the packed layout, shared with all who have the same.
  /// Throws dnnl::error.
  [[nodiscard]] static std::shared_ptr<const FusedKernels> Get(
      const PackedKeys& layout);

  explicit FusedKernels(const PackedKeys& layout);

  [[nodiscard]] const Brgemm& scores(std::int64_t width) const {
    return scores_[Index(width)];
  }
  [[nodiscard]] const Brgemm& values(std::int64_t width) const {
    return values_[Index(width)];
  }

 private:
  static std::size_t Index(std::int64_t width) {
    return static_cast<std::size_t>(width / kKeyLanes - 1);
  }

  std::vector<Brgemm> scores_;  // of 16, 32, 48 and 64 keys
  std::vector<Brgemm> values_;
};

}  // namespace attention
