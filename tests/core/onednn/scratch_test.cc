// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "tests/testing/attention_case.h"

namespace {

// Bytes allocated with the alignment of tensors, now and at most.
std::atomic<std::size_t> allocated{0};
std::atomic<std::size_t> peak{0};

}  // namespace

// Counts what AlignedBuffer allocates; everything else keeps its allocator.
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  const std::size_t total = (size + align - 1) / align * align + align;
  auto* block = static_cast<std::byte*>(std::aligned_alloc(align, total));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(block) = size;
  const std::size_t now = allocated += size;
  std::size_t highest = peak;
  while (now > highest && !peak.compare_exchange_weak(highest, now)) {
  }
  return block + align;
}

void operator delete(void* memory, std::align_val_t alignment) noexcept {
  if (memory == nullptr) return;
  auto* block =
      static_cast<std::byte*>(memory) - static_cast<std::size_t>(alignment);
  allocated -= *reinterpret_cast<std::size_t*>(block);
  std::free(block);
}

namespace attention {
namespace {

// The memory testing::Compute holds beside the scratch.
std::size_t AnswerBytes(const PackedBatch& batch) {
  const std::int64_t elements =
      batch.shapes.output.num_elements() +
      (batch.shapes.weights ? batch.shapes.weights->num_elements() : 0);
  return static_cast<std::size_t>(elements) * sizeof(float);
}

// The admission of requests relies on the bound.
TEST(ScratchTest, ForwardStaysWithinScratchBytes) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const testing::RandomCase random(seed, DataType::kFloat32);
    for (const testing::ImplementationKind& kind :
         {testing::OneDnnKind(), testing::ReferenceKind()}) {
      const auto attention = kind.make(
          random.config,
          testing::MakeWeights(random.config, DataType::kFloat32, seed));
      const auto batch = ResolveRequest(random.config, random.inputs);
      ASSERT_TRUE(batch.ok());
      ComputePool pool(2);
      const std::size_t before = allocated;
      peak = before;
      const testing::Answer answer =
          testing::Compute(*attention, random.config, random.inputs, pool);
      ASSERT_EQ(answer.output.shape(), batch->shapes.output);
      EXPECT_LE(peak - before,
                attention->ScratchBytes(*batch, 2) + AnswerBytes(*batch));
    }
  }
}

}  // namespace
}  // namespace attention
