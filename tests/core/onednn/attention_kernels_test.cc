// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_kernels.h"

#include <gtest/gtest.h>

#include "core/onednn/compute_thread.h"

namespace attention {
namespace {

TEST(AttentionKernelCacheTest, CompilesAShapeOnce) {
  const ComputeThreadScope scope;
  AttentionKernelCache cache;
  const auto first = cache.Get({4, 8, 2, 4, 16});
  EXPECT_EQ(cache.Get({4, 8, 2, 4, 16}), first);
  EXPECT_NE(cache.Get({4, 8, 2, 4, 32}), first);
}

TEST(AttentionKernelCacheTest, ForgetsTheLeastRecentlyUsedShape) {
  const ComputeThreadScope scope;
  AttentionKernelCache cache;
  const std::weak_ptr<const AttentionKernels> old = cache.Get({4, 8, 1, 4, 16});
  const std::weak_ptr<const AttentionKernels> used =
      cache.Get({4, 8, 2, 4, 16});
  for (std::size_t i = 1; i < AttentionKernelCache::kCapacity; ++i) {
    (void)cache.Get({4, 8, 1, 4, 16 + 16 * static_cast<std::int64_t>(i)});
    (void)cache.Get({4, 8, 2, 4, 16});
  }
  EXPECT_TRUE(old.expired());
  EXPECT_FALSE(used.expired());
}

}  // namespace
}  // namespace attention
