// SPDX-License-Identifier: Apache-2.0
#include <atomic>

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

  absl::Status Forward() {
    const auto batch = ResolveRequest(config_, inputs_);
    Tensor output(DataType::kFloat32, batch->shapes.output);
    return Make(config_)->Forward(*batch, {output.mutable_view(), {}}, pool_);
  }

  MultiHeadAttentionConfig config_;
  const Tensor query_ = RandomTensor(DataType::kFloat32, {500, 8}, 1);
  AttentionInputs inputs_;
};

TEST_P(StopTest, EndsEarlyWhenAskedTo) {
  std::atomic<int> calls = 0;
  pool_.SetStop([&calls] { return ++calls > 3; });
  EXPECT_EQ(Forward().code(), absl::StatusCode::kCancelled);
}

TEST_P(StopTest, CanBeUsedAgainAfterwards) {
  pool_.SetStop([] { return true; });
  EXPECT_FALSE(Forward().ok());
  pool_.SetStop({});
  EXPECT_TRUE(Forward().ok());
}

ATTENTION_INSTANTIATE_CONFORMANCE(StopTest);

}  // namespace
}  // namespace attention::testing
