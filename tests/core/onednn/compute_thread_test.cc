// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_thread.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <limits>
#include <tuple>

#include "core/tensor/random_tensor.h"
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

class ForwardThreadsTest
    : public ::testing::TestWithParam<
          std::tuple<testing::ImplementationKind, std::size_t>> {};

// Large enough for every primitive to be worth several threads to oneDNN.
TEST_P(ForwardThreadsTest, ForwardStartsNone) {
  MultiHeadAttentionConfig config;
  config.embed_dim = 256;
  config.num_heads = 4;
  const Tensor query = RandomTensor(DataType::kFloat32, {200, 256}, 1);
  AttentionInputs inputs;
  inputs.query = query.view();
  ComputePool pool(std::get<1>(GetParam()));
  const std::ptrdiff_t before = NumThreadsOfProcess();
  const auto attention =
      std::get<0>(GetParam())
          .make(config, testing::MakeWeights(config, DataType::kFloat32, 1));
  EXPECT_LE(NumThreadsOfProcess(), before);
  const testing::Answer answer =
      testing::Compute(*attention, config, inputs, pool);
  EXPECT_EQ(answer.weights->shape(), (Shape{200, 200}));
  EXPECT_LE(NumThreadsOfProcess(), before);
}

INSTANTIATE_TEST_SUITE_P(
    PoolSizes, ForwardThreadsTest,
    ::testing::Combine(::testing::ValuesIn(testing::AllKinds()),
                       ::testing::Values(2, 3)));

}  // namespace
}  // namespace attention
