// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "core/tensor/tensor.h"

namespace attention {
namespace {

constexpr std::size_t kHuge = AlignedBuffer::kHugePage;

bool IsAligned(AlignedBuffer& buffer, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(buffer.data()) % alignment == 0;
}

TEST(AlignedBufferTest, LiesOnCacheLinesAndIfLargeOnHugePages) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kHuge - 1}) {
    AlignedBuffer buffer(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_TRUE(IsAligned(buffer, kTensorAlignment)) << size;
  }
  for (const std::size_t size : {kHuge, kHuge + 1, 3 * kHuge + 5}) {
    AlignedBuffer buffer(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_TRUE(IsAligned(buffer, kHuge)) << size;
    std::memset(buffer.data(), 1, size);
  }
}

// Memory is given back as it was taken, which sanitizers check.
TEST(AlignedBufferTest, MovesBetweenSizes) {
  AlignedBuffer buffer;
  EXPECT_EQ(buffer.data(), nullptr);
  for (const std::size_t size : {std::size_t{10}, kHuge, std::size_t{10}}) {
    AlignedBuffer other(size);
    const std::byte* data = other.data();
    buffer = std::move(other);
    EXPECT_EQ(buffer.data(), data);
    EXPECT_EQ(buffer.size(), size);
  }
}

}  // namespace
}  // namespace attention
