// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_thread.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <limits>

#include "tests/testing/attention_case.h"

extern "C" int omp_get_max_threads();

namespace attention {
namespace {

std::ptrdiff_t NumThreadsOfProcess() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

TEST(ComputeThreadScopeTest, FlushesDenormalsWhileItLives) {
  volatile float denormal = std::numeric_limits<float>::denorm_min();
  {
    const ComputeThreadScope scope;
    EXPECT_TRUE(denormal * 2.0F == 0.0F);
  }
  EXPECT_FALSE(denormal * 2.0F == 0.0F);
}

TEST(ComputeThreadScopeTest, KeepsOpenMpToOneThread) {
  const ComputeThreadScope scope;
  EXPECT_EQ(omp_get_max_threads(), 1);
}

TEST(ComputeThreadScopeTest, ForwardStartsNoThreads) {
  const testing::RandomCase random(3, DataType::kFloat32);
  ComputePool pool(2);
  const std::ptrdiff_t before = NumThreadsOfProcess();
  const auto attention = testing::OneDnnKind().make(
      random.config,
      testing::MakeWeights(random.config, DataType::kFloat32, 1));
  const testing::Answer answer =
      testing::Compute(*attention, random.config, random.inputs, pool);
  EXPECT_EQ(answer.output.dtype(), DataType::kFloat32);
  EXPECT_EQ(NumThreadsOfProcess(), before);
}

}  // namespace
}  // namespace attention
