// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/engine/compute_path.h"
#include "tests/core/conformance/conformance.h"
#include "tests/core/conformance/mixture.h"
#include "tests/testing/allocation_counter.h"
#include "tests/testing/random_case.h"

namespace attention::testing {
namespace {

// Compute bound sequences and return how many bytes Forward held at most.
std::size_t PeakOfForward(const ModuleImplementation& attention,
                          std::span<const Sequence> sequences,
                          std::size_t num_threads) {
  ComputePool pool(num_threads, Pinning::kNone, kNoReserve);
  const std::size_t before = AllocationCounter::Current();
  AllocationCounter::ResetPeak();
  const absl::Status status = attention.Forward(sequences, pool);
  EXPECT_TRUE(status.ok()) << status;
  return AllocationCounter::Peak() - before;
}

// The admission of requests relies on ScratchBytes.
class ScratchTest : public ::testing::TestWithParam<ImplementationKind> {
 protected:
  ScratchTest() {
    config_.embed_dim = 8;
    config_.num_heads = 2;
    config_.batch_first = true;
  }

  TensorView Keep(Tensor tensor) {
    storage_.push_back(std::move(tensor));
    return storage_.back().view();
  }
  TensorView Random(const Shape& shape) {
    return Keep(RandomTensor(dtype_, shape, 1, ++stream_));
  }

  void ExpectWithinScratchBytes() {
    const auto attention =
        GetParam().make(config_, MakeWeights(config_, dtype_, 7));
    ExpectWithinScratchBytes(*attention, config_, inputs_);
  }
  static void ExpectWithinScratchBytes(const ModuleImplementation& attention,
                                       const ModuleConfig& config,
                                       const AttentionInputs& inputs) {
    ExpectWithinScratchBytes(attention, config, std::vector{inputs});
  }
  // Of several callers' requests in one pass.
  static void ExpectWithinScratchBytes(
      const ModuleImplementation& attention, const ModuleConfig& config,
      const std::vector<AttentionInputs>& requests) {
    std::vector<std::unique_ptr<RequestPlan>> plans;
    std::vector<Answer> answers;
    std::vector<Sequence> sequences;
    for (const AttentionInputs& inputs : requests) {
      auto plan = ResolveRequest(config, inputs);
      ASSERT_TRUE(plan.ok()) << plan.status();
      plans.push_back(*std::move(plan));
      answers.push_back(MakeAnswer(*plans.back()));
      plans.back()->Bind(answers.back().outputs());
      sequences.insert(sequences.end(), plans.back()->sequences.begin(),
                       plans.back()->sequences.end());
    }
    ExpectWithinScratchBytes(attention, sequences);
  }
  static void ExpectWithinScratchBytes(const ModuleImplementation& attention,
                                       std::span<const Sequence> sequences) {
    // Compiled kernels, which are no scratch, are kept from a first pass.
    (void)PeakOfForward(attention, sequences, /*num_threads=*/1);
    for (const std::size_t num_threads : {1U, 2U}) {
      EXPECT_LE(PeakOfForward(attention, sequences, num_threads),
                attention.ScratchBytes(sequences, num_threads))
          << num_threads << " threads";
    }
  }

  // The widest the implementation computes in.
  const DataType dtype_ =
      GetParam().name == "Reference" ? DataType::kFloat64 : DataType::kFloat32;
  MultiHeadAttentionConfig config_;
  AttentionInputs inputs_;

 private:
  std::vector<Tensor> storage_;
  std::uint32_t stream_ = 0;
};

TEST_P(ScratchTest, HoldsForRandomCases) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const RandomCase random(seed, dtype_);
    const auto attention = GetParam().make(random.config, random.Weights());
    ExpectWithinScratchBytes(*attention, random.config, random.inputs);
  }
}

TEST_P(ScratchTest, HoldsForManyTinySequences) {
  constexpr std::int64_t kBatch = std::int64_t{1} << 16U;
  for (std::int64_t n = 0; n < kBatch; ++n) {
    inputs_.query_lengths.push_back(n % 3);
    inputs_.key_lengths.push_back(n % 2);
  }
  inputs_.query = Random({(kBatch - 1) / 3 * 3, 8});
  inputs_.key = Random({kBatch / 2, 8});
  ExpectWithinScratchBytes();
}

TEST_P(ScratchTest, HoldsForManyDistinctLengths) {
  constexpr std::int64_t kBatch = 100;
  std::int64_t rows = 0;
  for (std::int64_t n = 0; n < kBatch; ++n) {
    inputs_.query_lengths.push_back(n);
    inputs_.key_lengths.push_back(kBatch - 1 - n);
    rows += n;
  }
  inputs_.query = Random({rows, 8});
  inputs_.key = Random({rows, 8});
  ExpectWithinScratchBytes();
}

TEST_P(ScratchTest, HoldsForAPrimeNumberOfNarrowHeads) {
  config_.embed_dim = 211;
  config_.num_heads = 211;
  inputs_.query = Random({2, 70, 211});
  inputs_.key = Random({2, 90, 211});
  for (const bool average : {false, true}) {
    inputs_.average_attn_weights = average;
    ExpectWithinScratchBytes();
  }
}

TEST_P(ScratchTest, HoldsForManyKeysWithWeightsAndMasks) {
  constexpr std::int64_t kKeys = 100'000;
  inputs_.query = Random({1, 3, 8});
  inputs_.key = Random({1, kKeys, 8});
  inputs_.attn_mask = Random({3, kKeys});
  Tensor holes(DataType::kBool, {1, kKeys});
  for (std::size_t j = 0; j < kKeys; ++j) holes.data<bool>()[j] = j % 7 == 0;
  inputs_.key_padding_mask = Keep(std::move(holes));
  for (const bool average : {false, true}) {
    inputs_.average_attn_weights = average;
    ExpectWithinScratchBytes();
  }
}

// The first sequence needs the larger scores, the other the longer mask rows.
TEST_P(ScratchTest, HoldsWhenSequencesNeedDifferentThings) {
  constexpr std::int64_t kKeys = 100'000;
  inputs_.query_lengths = {64, 1};
  inputs_.key_lengths = {2000, kKeys};
  inputs_.query = Random({65, 8});
  inputs_.key = Random({2000 + kKeys, 8});
  inputs_.need_weights = false;
  Tensor padding = RandomTensor(DataType::kFloat32, {2, kKeys}, 1);
  std::ranges::fill(padding.data<float>().subspan(kKeys + 1),
                    -std::numeric_limits<float>::infinity());
  inputs_.key_padding_mask = Keep(std::move(padding));
  ExpectWithinScratchBytes();
}

TEST_P(ScratchTest, HoldsForManyQueriesOfOneKey) {
  inputs_.query = Random({1, 100'000, 8});
  inputs_.key = Random({1, 1, 8});
  ExpectWithinScratchBytes();
}

TEST_P(ScratchTest, HoldsForWideKeys) {
  config_.kdim = 5000;
  config_.vdim = 3000;
  inputs_.query = Random({1, 1, 8});
  inputs_.key = Random({1, 2, 5000});
  inputs_.value = Random({1, 2, 3000});
  ExpectWithinScratchBytes();
}

// Of other kinds, which attend to themselves 16 wide.
std::vector<ModuleConfig> OtherKinds() {
  const TransformerEncoderLayerConfig layer = {
      .d_model = 16, .nhead = 2, .dim_feedforward = 3000, .dropout = 0.1};
  return {
      layer,
      TransformerEncoderConfig{.layer = layer, .num_layers = 2, .norm = true},
      D2lMultiHeadAttentionConfig{.num_hiddens = 16, .num_heads = 2},
      D2lTransformerEncoderBlockConfig{
          .num_hiddens = 16, .ffn_num_hiddens = 50, .num_heads = 2},
      D2lDotProductAttentionConfig{.query_size = 16},
  };
}

TEST_P(ScratchTest, HoldsForOtherKinds) {
  inputs_.need_weights = false;
  inputs_.training = true;
  for (const std::int64_t length : {1, 100, 3000}) {
    if (GetParam().name == "Reference" && length > 100) break;  // O(L^2) alone
    inputs_.query = Random({2, length, 16});
    for (const ModuleConfig& config : OtherKinds()) {
      SCOPED_TRACE(config.index());
      ExpectWithinScratchBytes(
          *GetParam().make(config, MakeWeights(config, dtype_, 7)), config,
          inputs_);
    }
  }
}

TEST_P(ScratchTest, HoldsForGroupedHeadsAndWideValues) {
  const ScaledDotProductAttentionConfig config = {.num_heads = 4,
                                                  .num_key_value_heads = 1,
                                                  .head_dim = 4,
                                                  .value_head_dim = 300};
  inputs_.query = Random({2, 200, 16});
  inputs_.key = Random({2, 90, 4});
  inputs_.value = Random({2, 90, 300});
  for (const bool need_weights : {false, true}) {
    inputs_.need_weights = need_weights;
    ExpectWithinScratchBytes(
        *GetParam().make(config, MakeWeights(config, dtype_, 7)), config,
        inputs_);
  }
}

TEST_P(ScratchTest, HoldsForARaggedEncoderWithHoles) {
  const TransformerEncoderLayerConfig config = {
      .d_model = 16, .nhead = 2, .dim_feedforward = 30};
  inputs_.query = Random({300, 16});
  inputs_.query_lengths = {100, 0, 200};
  inputs_.need_weights = false;
  Tensor holes(DataType::kBool, {3, 200});
  for (std::size_t j = 0; j < 600; ++j) holes.data<bool>()[j] = j % 3 == 0;
  inputs_.key_padding_mask = Keep(std::move(holes));
  ExpectWithinScratchBytes(
      *GetParam().make(config, MakeWeights(config, dtype_, 7)), config,
      inputs_);
}

TEST_P(ScratchTest, HoldsForManyRandomRequestsInOnePass) {
  Draws draws{std::mt19937_64(20260102)};
  for (const Model& model : Models()) {
    SCOPED_TRACE(model.config.index());
    const auto attention =
        GetParam().make(model.config, MakeWeights(model.config, dtype_, 7));
    for (const int count : {2, 7, 30}) {
      const OwnedRequests requests = draws.DrawRequests(model, count);
      ExpectWithinScratchBytes(*attention, BindAll(requests));
    }
  }
}

// One request has the most rows of all, others the most keys, the longest mask
// rows, the largest weights.
TEST_P(ScratchTest, HoldsWhenRequestsNeedDifferentThings) {
  constexpr std::int64_t kKeys = 20'000;
  std::vector<AttentionInputs> requests(6);
  for (AttentionInputs& inputs : requests) inputs.need_weights = false;
  requests[0].query = Random({1, 5000, 8});
  requests[0].key = Random({1, 3, 8});
  requests[1].query = Random({1, 1, 8});
  requests[1].key = Random({1, 2 * kKeys, 8});
  requests[2].query = Random({1, 2, 8});
  requests[2].key = Random({1, kKeys, 8});
  requests[2].attn_mask = Random({2, kKeys});
  for (const std::size_t averaged : {3U, 4U}) {
    requests[averaged].query = Random({2, 70, 8});
    requests[averaged].key = Random({2, 1000, 8});
    requests[averaged].need_weights = true;
    requests[averaged].average_attn_weights = averaged == 3;
  }
  requests[5].query = Random({1, 100, 8});
  requests[5].training = true;
  config_.dropout = 0.1;
  const auto attention =
      GetParam().make(config_, MakeWeights(config_, dtype_, 7));
  ExpectWithinScratchBytes(*attention, config_, requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    const std::size_t next = (i + 1) % requests.size();
    ExpectWithinScratchBytes(*attention, config_,
                             std::vector{requests[i], requests[next]});
  }
}

TEST_P(ScratchTest, HoldsForManyRequestsOfOtherKindsInOnePass) {
  std::vector<AttentionInputs> requests;
  for (const std::int64_t length : {1, 70, 3, 100, 0, 17, 65, 700}) {
    if (GetParam().name == "Reference" && length > 100) break;  // O(L^2) alone
    AttentionInputs inputs;
    inputs.query = Random({1 + length % 3, length, 16});
    inputs.need_weights = false;
    inputs.training = length % 2 == 0;
    requests.push_back(inputs);
  }
  for (const ModuleConfig& config : OtherKinds()) {
    SCOPED_TRACE(config.index());
    ExpectWithinScratchBytes(
        *GetParam().make(config, MakeWeights(config, dtype_, 7)), config,
        requests);
  }
}

ATTENTION_INSTANTIATE_CONFORMANCE(ScratchTest);

// The many are computed some at a time.
TEST(FusedScratchTest, DoesNotGrowWithTheBatch) {
  if (BestComputePath(DataType::kFloat32).kernels != KernelKind::kFused) {
    GTEST_SKIP() << "not on this machine";
  }
  const D2lMultiHeadAttentionConfig config = {.num_hiddens = 256,
                                              .num_heads = 4};
  const auto attention =
      FusedKind().make(config, MakeWeights(config, DataType::kFloat32, 7));
  const auto bytes_of = [&](std::int64_t batch_size) {
    const Tensor query(DataType::kFloat32, {batch_size, 100, 256});
    AttentionInputs inputs;
    inputs.query = query.view();
    const auto batch = ResolveRequest(config, inputs);
    return attention->ScratchBytes((*batch)->sequences, /*num_threads=*/2);
  };
  constexpr std::size_t kMatrices = 32 << 20;
  const std::size_t some = bytes_of(200);
  EXPECT_GT(bytes_of(100), kMatrices * 9 / 10);
  EXPECT_LT(some, kMatrices * 12 / 10);
  EXPECT_EQ(bytes_of(2000), some);
}

TEST(ComputePoolScratchTest, WhatIsBeyondTheReserveIsGivenBack) {
  constexpr std::size_t kBytes = 1 << 20;
  ComputePool pool(2, Pinning::kNone, kNoReserve);
  const std::size_t before = AllocationCounter::Current();
  {
    const ComputePool::Lease lease(pool, kBytes);
    EXPECT_GE(AllocationCounter::Current(), before + kBytes);
  }
  EXPECT_EQ(AllocationCounter::Current(), before);
  pool.Run(8, [&](std::int64_t, std::size_t thread) {
    (void)pool.Scratch(thread, kBytes);
    EXPECT_GE(AllocationCounter::Current(), before + kBytes);
  });
  EXPECT_EQ(AllocationCounter::Current(), before);
}

}  // namespace
}  // namespace attention::testing
