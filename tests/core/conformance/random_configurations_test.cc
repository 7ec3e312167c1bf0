// SPDX-License-Identifier: Apache-2.0
#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

class RandomConfigurationsTest : public ::testing::TestWithParam<DataType> {
 protected:
  ComputePool pool_{2};
};

// Both see the same 16-bit inputs and round the result once, so each dtype's
// default tolerance holds.
TEST_P(RandomConfigurationsTest, OneDnnAgreesWithTheReference) {
  constexpr std::uint64_t kCases = 150;
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const RandomCase random(seed, GetParam());
    const auto weights = [&] {
      return MakeWeights(random.config, GetParam(), seed);
    };
    const Answer want = Compute(*ReferenceKind().make(random.config, weights()),
                                random.config, random.inputs, pool_);
    const Answer got = Compute(*OneDnnKind().make(random.config, weights()),
                               random.config, random.inputs, pool_);

    ASSERT_TRUE(IsClose(got.output.view(), want.output.view()));
    ASSERT_EQ(got.weights.has_value(), want.weights.has_value());
    if (want.weights) {
      ASSERT_TRUE(IsClose(got.weights->view(), want.weights->view()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    OneDnn, RandomConfigurationsTest,
    ::testing::Values(DataType::kFloat32, DataType::kBFloat16,
                      DataType::kFloat16),
    [](const ::testing::TestParamInfo<DataType>& parameter) {
      return std::string(DataTypeName(parameter.param));
    });

}  // namespace
}  // namespace attention::testing
