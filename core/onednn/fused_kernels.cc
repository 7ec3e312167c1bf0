// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/fused_kernels.h"

#include <tuple>

#include "core/onednn/shared_kernels.h"

namespace attention {

FusedKernels::FusedKernels(const PackedKeys& layout) {
  for (std::int64_t width = kKeyLanes; width <= kChunkKeys;
       width += kKeyLanes) {
    scores_.emplace_back(Brgemm::Shape{.dtype = layout.dtype,
                                       .columns = width,
                                       .depth = layout.key_depth(),
                                       .lda = layout.key_depth(),
                                       .ldb = width,
                                       .ldc = kBlockKeys});
    values_.emplace_back(Brgemm::Shape{.dtype = layout.dtype,
                                       .columns = layout.value_columns(),
                                       .depth = width,
                                       .lda = kBlockKeys,
                                       .ldb = layout.value_columns(),
                                       .ldc = layout.value_columns(),
                                       .accumulate = true});
  }
}

std::shared_ptr<const FusedKernels> FusedKernels::Get(
    const PackedKeys& layout) {
  using Key = std::tuple<DataType, std::int64_t, std::int64_t>;
  static SharedKernels<Key, FusedKernels> shared;
  return shared.Get({layout.dtype, layout.key_depth(), layout.value_columns()},
                    [&] { return FusedKernels(layout); });
}

}  // namespace attention
