// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

class StopTest : public ConformanceTest {
 protected:
  StopTest() {
    config_.embed_dim = 8;
    config_.num_heads = 2;
    inputs_.query = query_.view();
    inputs_.need_weights = false;
  }

  // Whether the request ended early, asking `stop`.
  bool Stops(std::function<bool()> stop) {
    const auto request = ResolveRequest(config_, inputs_);
    Answer answer = MakeAnswer(**request);
    std::ranges::fill(answer.output.data<float>(), kUnwritten);
    (*request)->Bind(answer.outputs(), std::move(stop));
    const absl::Status status =
        Make(config_)->Forward((*request)->sequences, pool_);
    EXPECT_TRUE(status.ok()) << status;
    rows_written_ =
        std::ranges::count_if(answer.output.data<float>(),
                              [](float x) { return x != kUnwritten; }) /
        8;
    return (*request)->was_stopped();
  }

  static constexpr float kUnwritten = 1e30F;
  std::int64_t rows_written_ = 0;
  MultiHeadAttentionConfig config_;
  const Tensor query_ = RandomTensor(DataType::kFloat32, {500, 8}, 1);
  AttentionInputs inputs_;
};

TEST_P(StopTest, EndsEarlyWhenAskedTo) {
  std::atomic<int> calls = 0;
  EXPECT_TRUE(Stops([&calls] { return ++calls > 3; }));
  EXPECT_LT(rows_written_, 500);
}

TEST_P(StopTest, CanBeUsedAgainAfterwards) {
  EXPECT_TRUE(Stops([] { return true; }));
  EXPECT_EQ(rows_written_, 0);
  EXPECT_FALSE(Stops({}));
  EXPECT_EQ(rows_written_, 500);
}

ATTENTION_INSTANTIATE_CONFORMANCE(StopTest);

}  // namespace
}  // namespace attention::testing
