// SPDX-License-Identifier: Apache-2.0
#include "core/reference/reference_attention.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "tests/testing/allocation_counter.h"
#include "tests/testing/attention_case.h"

namespace attention::testing {
namespace {

// What ComputeReferenceAttention allocates, beside the weights in double,
// against ReferenceAttentionBytes. Sequences are computed one after another, so
// that it is not their sum, but lines grow from one to the next.
class ReferenceAttentionTest : public ::testing::Test {
 protected:
  // A request of ragged sequences, of `lengths` keys and one query each.
  void Add(const std::vector<std::int64_t>& lengths, bool average = false) {
    std::int64_t rows = 0;
    for (const std::int64_t length : lengths) rows += length;
    storage_.emplace_back(DataType::kFloat64,
                          Shape{std::ssize(lengths), config_.embed_dim});
    storage_.emplace_back(DataType::kFloat64, Shape{rows, config_.key_dim()});
    storage_.emplace_back(DataType::kFloat64, Shape{rows, config_.value_dim()});
    AttentionInputs inputs;
    inputs.query = storage_[storage_.size() - 3].view();
    inputs.key = storage_[storage_.size() - 2].view();
    inputs.value = storage_.back().view();
    inputs.query_lengths.assign(lengths.size(), 1);
    inputs.key_lengths = lengths;
    inputs.average_attn_weights = average;
    plans_.push_back(ResolveRequest(config_, inputs).value());
    answers_.push_back(MakeAnswer(*plans_.back()));
  }

  void ExpectWithinBound() {
    const AttentionSpec spec = SpecOf(config_).attention;
    const ModuleWeights weights = MakeWeights(config_, DataType::kFloat32, 7);
    std::vector<Sequence> sequences;
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      plans_[i]->Bind(answers_[i].outputs());
      sequences.insert(sequences.end(), plans_[i]->sequences.begin(),
                       plans_[i]->sequences.end());
    }
    const std::size_t before = AllocationCounter::Current();
    AllocationCounter::ResetPeak();
    ComputeReferenceAttention(spec, weights.layers.front().attention, sequences,
                              /*layer=*/0);
    const std::size_t peak = AllocationCounter::Peak() - before;
    const std::size_t in_double =
        weights.num_bytes / sizeof(float) * sizeof(double);
    EXPECT_LE(peak, in_double + ReferenceAttentionBytes(spec, sequences));
  }

  MultiHeadAttentionConfig config_ = {.embed_dim = 2, .num_heads = 2};

 private:
  std::vector<Tensor> storage_;
  std::vector<std::unique_ptr<RequestPlan>> plans_;
  std::vector<Answer> answers_;
};

TEST_F(ReferenceAttentionTest, CountsWhatSequencesOfARequestLeaveBehind) {
  for (const bool average : {false, true}) {
    // The second outgrows the first's lines by one, and they double.
    Add({1000, 1001}, average);
    Add({1, 500, 1000, 1001, 2}, average);
  }
  ExpectWithinBound();
}

TEST_F(ReferenceAttentionTest, CountsWhatRequestsLeaveBehind) {
  for (const std::int64_t length : {3, 1000, 1001, 1, 2002, 2003}) {
    Add({length}, /*average=*/length % 2 == 0);
  }
  ExpectWithinBound();
}

TEST_F(ReferenceAttentionTest, CountsInputsOfDifferentWidths) {
  config_.kdim = 3000;
  config_.vdim = 3001;
  Add({1, 1});
  Add({1});
  ExpectWithinBound();
}

}  // namespace
}  // namespace attention::testing
