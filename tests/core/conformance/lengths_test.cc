// SPDX-License-Identifier: Apache-2.0
// Sizes about the edges of pages, blocks and tiles.
#include <array>
#include <cstdint>
#include <string>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

constexpr std::array<std::int64_t, 9> kLengths = {1,  2,  31, 32, 33,
                                                  63, 64, 65, 130};
constexpr std::array<std::int64_t, 8> kHeadDims = {1,  3,  16,  20,
                                                   64, 80, 128, 257};

// A number of keys, with every length and, among these, every head size.
class LengthsTest : public ::testing::TestWithParam<std::int64_t> {
 protected:
  void ExpectAsReference(std::int64_t length,
                         const ScaledDotProductAttentionConfig& config) {
    const std::int64_t key_heads =
        config.num_key_value_heads.value_or(config.num_heads);
    const Tensor query =
        Random({1, length, config.num_heads * config.head_dim}, 1);
    const Tensor key = Random({1, keys_, key_heads * config.head_dim}, 2);
    const Tensor value =
        Random({1, keys_, key_heads * *config.value_head_dim}, 3);
    AttentionInputs inputs;
    inputs.query = query.view();
    inputs.key = key.view();
    inputs.value = value.view();
    inputs.need_weights = length % 2 == 0;
    const auto compute = [&](const ImplementationKind& kind) {
      return Compute(*kind.make(config, MakeWeights(config, kF32, 7)), config,
                     inputs, pool_);
    };
    const Answer want = compute(ReferenceKind());
    for (const ImplementationKind& kind : AllKinds()) {
      if (kind.name == "Reference") continue;
      SCOPED_TRACE(kind.name);
      const Answer got = compute(kind);
      EXPECT_TRUE(IsClose(got.output.view(), want.output.view()));
      if (!want.weights) continue;
      EXPECT_TRUE(IsClose(got.weights->view(), want.weights->view()));
    }
  }
  static Tensor Random(const Shape& shape, std::uint64_t seed) {
    return RandomTensor(kF32, shape, seed);
  }

  static constexpr DataType kF32 = DataType::kFloat32;
  const std::int64_t keys_ = GetParam();
  ComputePool pool_{2, Pinning::kNone, kNoReserve};
};

TEST_P(LengthsTest, AgreesWithTheReference) {
  for (std::size_t i = 0; i < kLengths.size(); ++i) {
    const std::size_t place = i + static_cast<std::size_t>(keys_);
    const bool grouped = place % 2 == 0;
    const ScaledDotProductAttentionConfig config = {
        .num_heads = grouped ? 4 : 1,
        .num_key_value_heads = grouped ? 2 : 1,
        .head_dim = kHeadDims[place % kHeadDims.size()],
        .value_head_dim = kHeadDims[(3 * place + 1) % kHeadDims.size()]};
    SCOPED_TRACE(::testing::Message()
                 << kLengths[i] << " rows, heads of " << config.head_dim
                 << " and " << *config.value_head_dim);
    ExpectAsReference(kLengths[i], config);
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, LengthsTest,
                         ::testing::Values(1, 15, 16, 17, 63, 64, 65, 511, 512,
                                           513, 1023, 1024, 1025, 1100));

// Many keys and heads: tiles of queries go side by side through the blocks of
// keys, three of 64 rows and less, or four and one, or two where rows end
// early.
TEST(ManyKeysTest, AgreeWithTheReference) {
  constexpr std::int64_t kHeads = 64;
  constexpr std::int64_t kHeadDim = 3;
  constexpr std::int64_t kKeys = 1100;
  const ScaledDotProductAttentionConfig config = {
      .num_heads = kHeads, .head_dim = kHeadDim, .dropout = 0.25};
  ComputePool pool(2, Pinning::kNone, kNoReserve);
  for (const std::int64_t length : {130, 320}) {
    const auto random = [](const Shape& shape, std::uint64_t seed) {
      return RandomTensor(DataType::kFloat32, shape, seed);
    };
    const Tensor query = random({1, length, kHeads * kHeadDim}, 1);
    const Tensor key = random({1, kKeys, kHeads * kHeadDim}, 2);
    const Tensor value = random({1, kKeys, kHeads * kHeadDim}, 3);
    const Tensor mask = random({length, kKeys}, 4);
    AttentionInputs inputs;
    inputs.query = query.view();
    inputs.key = key.view();
    inputs.value = value.view();
    inputs.need_weights = false;
    for (const bool is_masked : {false, true}) {
      if (is_masked) inputs.attn_mask = mask.view();
      inputs.training = is_masked;
      for (const Causal causal :
           {Causal::kNone, Causal::kTopLeft, Causal::kBottomRight}) {
        inputs.causal = causal;
        const auto compute = [&](const ImplementationKind& kind) {
          return Compute(
              *kind.make(config, MakeWeights(config, DataType::kFloat32, 7)),
              config, inputs, pool);
        };
        const Answer want = compute(ReferenceKind());
        for (const ImplementationKind& kind : AllKinds()) {
          if (kind.name == "Reference") continue;
          SCOPED_TRACE(kind.name);
          EXPECT_TRUE(IsClose(compute(kind).output.view(), want.output.view()));
        }
      }
    }
  }
}

}  // namespace
}  // namespace attention::testing
