// SPDX-License-Identifier: Apache-2.0
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
    (*request)->Bind(answer.outputs(), std::move(stop));
    const absl::Status status =
        Make(config_)->Forward((*request)->sequences, pool_);
    EXPECT_TRUE(status.ok()) << status;
    return (*request)->was_stopped();
  }

  MultiHeadAttentionConfig config_;
  const Tensor query_ = RandomTensor(DataType::kFloat32, {500, 8}, 1);
  AttentionInputs inputs_;
};

TEST_P(StopTest, EndsEarlyWhenAskedTo) {
  std::atomic<int> calls = 0;
  EXPECT_TRUE(Stops([&calls] { return ++calls > 3; }));
}

TEST_P(StopTest, CanBeUsedAgainAfterwards) {
  EXPECT_TRUE(Stops([] { return true; }));
  EXPECT_FALSE(Stops({}));
}

ATTENTION_INSTANTIATE_CONFORMANCE(StopTest);

}  // namespace
}  // namespace attention::testing
