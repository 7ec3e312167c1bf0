// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace attention {
namespace {

constexpr std::size_t kSize = BufferPool::kSmallestKept;

TEST(BufferPoolTest, GivesAlignedMemoryOfAtLeastTheSize) {
  BufferPool pool(8 * kSize);
  for (const std::size_t num_bytes : {std::size_t{0}, std::size_t{1}, kSize}) {
    const BufferPool::Buffer buffer = pool.Take(num_bytes);
    EXPECT_GE(buffer.size(), num_bytes);
    EXPECT_EQ(
        reinterpret_cast<std::uintptr_t>(buffer.data()) % kTensorAlignment, 0U);
  }
}

TEST(BufferPoolTest, UsesMemoryAgain) {
  BufferPool pool(8 * kSize);
  const std::byte* first = nullptr;
  {
    BufferPool::Buffer buffer = pool.Take(kSize + 100);
    first = buffer.data();
  }
  EXPECT_EQ(pool.idle_bytes(), kSize + 100);

  const BufferPool::Buffer smaller = pool.Take(kSize);

  EXPECT_EQ(smaller.data(), first);
  EXPECT_EQ(pool.idle_bytes(), 0U);
}

TEST(BufferPoolTest, GivesAtMostAnEighthMoreThanAskedFor) {
  BufferPool pool(8 * kSize);
  {
    const BufferPool::Buffer buffer = pool.Take(kSize + kSize / 8 + 1);
  }

  EXPECT_EQ(pool.Take(kSize).size(), kSize);
  EXPECT_EQ(pool.Take(kSize + 1).size(), kSize + kSize / 8 + 1);
}

TEST(BufferPoolTest, DoesNotKeepSmallBuffers) {
  BufferPool pool(8 * kSize);
  {
    const BufferPool::Buffer buffer = pool.Take(kSize - 1);
  }

  EXPECT_EQ(pool.idle_bytes(), 0U);
}

TEST(BufferPoolTest, KeepsNoMoreThanItMay) {
  BufferPool pool(3 * kSize);
  {
    std::vector<BufferPool::Buffer> buffers;
    for (int i = 0; i < 4; ++i) buffers.push_back(pool.Take(kSize));
  }

  EXPECT_EQ(pool.idle_bytes(), 3 * kSize);
}

TEST(BufferPoolTest, FreesWhatNobodyNeeds) {
  BufferPool pool(8 * kSize);
  {
    const BufferPool::Buffer one = pool.Take(kSize);
    const BufferPool::Buffer two = pool.Take(kSize);
  }
  EXPECT_EQ(pool.Trim(), 0U) << "idle for less than a period";
  {
    const BufferPool::Buffer again = pool.Take(kSize);
  }

  EXPECT_EQ(pool.Trim(), kSize) << "the one that was not taken again";
  EXPECT_EQ(pool.Trim(), kSize);
  EXPECT_EQ(pool.idle_bytes(), 0U);
}

TEST(BufferPoolTest, BuffersMayOutliveIt) {
  std::optional<BufferPool> pool(std::in_place, 8 * kSize);
  BufferPool::Buffer buffer = pool->Take(kSize);
  pool.reset();

  buffer = BufferPool::Buffer();

  EXPECT_EQ(buffer.size(), 0U);
}

TEST(BufferPoolTest, AssigningGivesBackWhatWasThere) {
  BufferPool pool(8 * kSize);
  BufferPool::Buffer buffer = pool.Take(kSize);
  buffer = pool.Take(2 * kSize);

  EXPECT_EQ(buffer.size(), 2 * kSize);
  EXPECT_EQ(pool.idle_bytes(), kSize);
}

TEST(BufferPoolTest, ThreadsShareIt) {
  BufferPool pool(4 * kSize);
  std::vector<std::jthread> threads;
  for (unsigned char id = 0; id < 4; ++id) {
    threads.emplace_back([&pool, id] {
      for (int i = 0; i < 1000; ++i) {
        BufferPool::Buffer buffer = pool.Take(kSize);
        buffer.data()[i] = std::byte{id};
        std::this_thread::yield();
        EXPECT_EQ(buffer.data()[i], std::byte{id});
        if (i % 16 == 0) pool.Trim();
      }
    });
  }
  threads.clear();

  EXPECT_LE(pool.idle_bytes(), 4 * kSize);
}

}  // namespace
}  // namespace attention
