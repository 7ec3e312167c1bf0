// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <string>
#include <vector>

#include "tests/core/conformance/zero_scores.h"

namespace attention::testing {
namespace {

using ::testing::ElementsAre;

// The weights of S visible keys are 1/S each before dropout.
class DropoutTest : public ZeroScoresTest {
 protected:
  DropoutTest() {
    config_.dropout = 0.5;
    inputs_.training = true;
    inputs_.dropout_seed = 11;
    inputs_.average_attn_weights = false;
  }

  // The rows of the weights, in order: x is kept, . is zero.
  std::vector<std::string> Kept() {
    const Answer answer = Run();
    const std::vector<double> weights = ToDoubles(answer.weights->view());
    const auto columns =
        static_cast<std::size_t>(answer.weights->shape().back());
    std::vector<std::string> rows(weights.size() / columns);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      rows[i / columns] += weights[i] > 0.0 ? 'x' : '.';
    }
    return rows;
  }
};

// Source of the answers: tests/pytorch/philox.py, with the key 11 and the
// counters {j / 4, i, n, h}; kept where word j mod 4 is at least 2^31.
TEST_P(DropoutTest, FollowsPhiloxOfColumnRowSequenceAndHead) {
  SetSizes(2, 2, 6);
  EXPECT_THAT(Kept(), ElementsAre("xx...x", "..xxxx",    // n 0, h 0
                                  "..x...", "...x.x",    // n 0, h 1
                                  "xxx...", "...x..",    // n 1, h 0
                                  "..xx.x", "xx.x.."));  // n 1, h 1
}

TEST_P(DropoutTest, OfOneSequenceIsThatOfTheFirstInABatch) {
  SetSizes(1, 2, 6);
  EXPECT_THAT(Kept(), ElementsAre("xx...x", "..xxxx", "..x...", "...x.x"));
}

TEST_P(DropoutTest, DoesNotDependOnPaddingBehindTheKeys) {
  SetSizes(2, 2, 9);
  inputs_.valid_lens = Keep({2}, std::vector<std::int32_t>{6, 6});
  EXPECT_THAT(Kept(), ElementsAre("xx...x...", "..xxxx...",  // n 0
                                  "..x......", "...x.x...",  //
                                  "xxx......", "...x.....",  // n 1
                                  "..xx.x...", "xx.x....."));
}

TEST_P(DropoutTest, DoesNotDependOnPaddingBetweenTheKeys) {
  SetSizes(1, 2, 6);
  inputs_.key_padding_mask =
      Keep({1, 6}, std::vector{true, false, true, false, false, false});
  EXPECT_THAT(Kept(), ElementsAre(".x...x", "...xxx", "......", "...x.x"));
}

TEST_P(DropoutTest, OfARaggedBatchIsThatOfItsPaddedForm) {
  SetSizes(1, 3, 8);  // rows of the sequences, 2 + 1 and 6 + 2
  inputs_.query.shape = {3, 4};
  inputs_.key->shape = {8, 4};
  inputs_.query_lengths = {2, 1};
  inputs_.key_lengths = {6, 2};
  EXPECT_THAT(Kept(), ElementsAre("xx...x", "..xxxx",  // n 0
                                  "..x...", "...x.x",  //
                                  "xx....", "......",  // n 1
                                  "......", "......"));
}

ATTENTION_INSTANTIATE_CONFORMANCE(DropoutTest);

}  // namespace
}  // namespace attention::testing
