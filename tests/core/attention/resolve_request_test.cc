// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/request_plan.h"
#include "core/tensor/tensor.h"

namespace attention {
namespace {

// A module (E 6, H 2) and a valid batched request: N 2, L 3, S 4.
class ResolveRequestTest : public ::testing::Test {
 protected:
  ResolveRequestTest() {
    config_.embed_dim = 6;
    config_.num_heads = 2;
    config_.batch_first = true;
    inputs_.query = Zeros({2, 3, 6});
    inputs_.key = Zeros({2, 4, 6});
  }

  TensorView Zeros(const Shape& shape, DataType dtype = DataType::kFloat32) {
    storage_.push_back(std::make_unique<Tensor>(dtype, shape));
    std::fill_n(storage_.back()->mutable_view().data,
                storage_.back()->num_bytes(), std::byte{0});
    return storage_.back()->view();
  }
  // Which row of a tensor row i of a sequence is.
  static std::int64_t RowOf(const Rows& rows, std::int64_t i,
                            const TensorView& tensor) {
    const auto row_bytes = tensor.shape.back() * rows.element_size();
    return (rows.row(i) - tensor.data) / row_bytes;
  }
  std::string Error() {
    const auto batch = ResolveRequest(config_, inputs_);
    EXPECT_EQ(batch.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(batch.status().message());
  }

  MultiHeadAttentionConfig config_;
  AttentionInputs inputs_;
  std::vector<std::unique_ptr<Tensor>> storage_;
};

TEST_F(ResolveRequestTest, LaysOutBatchFirstSequences) {
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok()) << batch.status();
  ASSERT_EQ((*batch)->sequences.size(), 2U);
  EXPECT_EQ(RowOf((*batch)->sequences[1].query, 2, inputs_.query), 5);
  EXPECT_EQ(RowOf((*batch)->sequences[1].key, 1, *inputs_.key), 5);
  EXPECT_EQ((*batch)->shapes.output, (Shape{2, 3, 6}));
  EXPECT_EQ(*(*batch)->shapes.weights, (Shape{2, 3, 4}));
}

TEST_F(ResolveRequestTest, LaysOutSequenceFirstSequences) {
  config_.batch_first = false;
  inputs_.query = Zeros({3, 2, 6});
  inputs_.key = Zeros({4, 2, 6});
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(RowOf((*batch)->sequences[1].query, 2, inputs_.query), 5);
  EXPECT_EQ(RowOf((*batch)->sequences[1].key, 1, *inputs_.key), 3);
  EXPECT_EQ(*(*batch)->shapes.weights, (Shape{2, 3, 4}));
}

TEST_F(ResolveRequestTest, DefaultsKeyToQueryAndValueToKey) {
  inputs_.key.reset();
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ((*batch)->sequences[0].value.data, inputs_.query.data);
  EXPECT_EQ((*batch)->max_key_length, 3);
}

TEST_F(ResolveRequestTest, LeavesPaddedKeysOut) {
  Tensor lens(DataType::kInt32, {2});
  lens.data<std::int32_t>()[0] = -1;
  lens.data<std::int32_t>()[1] = 99;
  inputs_.valid_lens = lens.view();
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ((*batch)->sequences[0].num_visible, 0);
  EXPECT_EQ((*batch)->sequences[1].num_visible, 4);
}

TEST_F(ResolveRequestTest, ListsVisibleKeysWherePaddingHasHoles) {
  Tensor padding(DataType::kBool, {2, 4});
  std::ranges::copy(std::array{false, false, true, true,  // at the end alone
                               true, false, true, false},
                    padding.data<bool>().begin());
  inputs_.key_padding_mask = padding.view();
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ((*batch)->sequences[0].num_visible, 2);
  EXPECT_TRUE((*batch)->sequences[0].visible_keys.empty());
  EXPECT_EQ((*batch)->sequences[0].visible_key(1), 1);
  EXPECT_EQ((*batch)->sequences[1].num_visible, 2);
  EXPECT_EQ((*batch)->sequences[1].visible_key(0), 1);
  EXPECT_EQ((*batch)->sequences[1].visible_key(1), 3);
}

TEST_F(ResolveRequestTest, KeepsNoSequencesWithoutQueryRows) {
  inputs_.query = Zeros({1 << 16, 0, 6});
  inputs_.key = Zeros({1 << 16, 0, 6});
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok());
  EXPECT_TRUE((*batch)->sequences.empty());
}

TEST_F(ResolveRequestTest, SkipsTheMasksShapeWhereTorchDiscardsIt) {
  inputs_.attn_mask = Zeros({1, 1}, DataType::kBool);
  inputs_.is_causal = true;
  inputs_.need_weights = false;
  EXPECT_TRUE(ResolveRequest(config_, inputs_).ok());
  inputs_.need_weights = true;
  EXPECT_EQ(Error(), "attn_mask: expected shape (L, S) = (3, 4), got (1, 1)");
}

TEST_F(ResolveRequestTest, AppliesDropoutInTrainingOnly) {
  config_.dropout = 0.5;
  EXPECT_EQ((*ResolveRequest(config_, inputs_))->dropout, 0.0);
  inputs_.training = true;
  EXPECT_EQ((*ResolveRequest(config_, inputs_))->dropout, 0.5);
}

TEST_F(ResolveRequestTest, KnowsItsOutputsOnceItIsBound) {
  config_.batch_first = false;
  inputs_.query = Zeros({3, 2, 6});
  inputs_.key = Zeros({4, 2, 6});
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok()) << batch.status();
  Tensor output(DataType::kFloat32, (*batch)->shapes.output);
  Tensor weights(DataType::kFloat32, *(*batch)->shapes.weights);
  (*batch)->Bind({output.mutable_view(), weights.mutable_view()});
  const Sequence& sequence = (*batch)->sequences[1];
  EXPECT_EQ(RowOf(sequence.output, 2, output.view()), 5);
  EXPECT_EQ(((*batch)->weight_data(sequence, /*head=*/0, /*row=*/2) -
             weights.view().data) /
                static_cast<std::int64_t>(4 * sizeof(float)),
            5);
}

TEST_F(ResolveRequestTest, StaysStoppedOnceItIsToldTo) {
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_FALSE((*batch)->StopRequested());
  bool stop = false;
  Tensor output(DataType::kFloat32, (*batch)->shapes.output);
  (*batch)->Bind({output.mutable_view(), {}}, [&stop] { return stop; });
  EXPECT_FALSE((*batch)->StopRequested());
  EXPECT_FALSE((*batch)->was_stopped());
  stop = true;
  EXPECT_FALSE((*batch)->was_stopped()) << "nobody has asked yet";
  EXPECT_TRUE((*batch)->StopRequested());
  stop = false;
  EXPECT_TRUE((*batch)->StopRequested());
  EXPECT_TRUE((*batch)->was_stopped());
  (*batch)->Bind({output.mutable_view(), {}});
  EXPECT_FALSE((*batch)->StopRequested());
}

TEST_F(ResolveRequestTest, RefusesMaskDtypes) {
  inputs_.attn_mask = Zeros({3, 4}, DataType::kInt32);
  EXPECT_EQ(Error(),
            "attn_mask: only bool and floating types are supported, got int32");
  inputs_.key_padding_mask = Zeros({2, 4}, DataType::kInt64);
  EXPECT_EQ(Error(),
            "key_padding_mask: only bool and floating types are supported, got "
            "int64");
}

TEST_F(ResolveRequestTest, RefusesRanks) {
  inputs_.query = Zeros({6});
  EXPECT_EQ(Error(),
            "query: expected an unbatched 2-D or batched 3-D tensor, got a 1-D "
            "tensor of shape (6,)");
  inputs_.query = Zeros({3, 6});
  EXPECT_EQ(Error(),
            "key: expected a 2-D tensor as query is unbatched (2-D), got a 3-D "
            "tensor of shape (2, 4, 6)");
}

TEST_F(ResolveRequestTest, RefusesMaskRanks) {
  inputs_.key_padding_mask = Zeros({4}, DataType::kBool);
  EXPECT_EQ(Error(),
            "key_padding_mask: expected a 2-D tensor for a batched query, got "
            "shape (4,)");
  inputs_.key_padding_mask.reset();
  inputs_.attn_mask = Zeros({2, 2, 3, 4}, DataType::kBool);
  EXPECT_EQ(Error(),
            "attn_mask: expected a 2-D or 3-D tensor for a batched query, got "
            "shape (2, 2, 3, 4)");
}

TEST_F(ResolveRequestTest, RefusesTheCausalHintWithoutAMask) {
  inputs_.is_causal = true;
  EXPECT_EQ(Error(),
            "is_causal: expected attn_mask to be given with the is_causal "
            "hint, got none; `causal` masks without one");
}

TEST_F(ResolveRequestTest, RefusesWidths) {
  inputs_.query = Zeros({2, 3, 5});
  EXPECT_EQ(Error(),
            "query: expected embed_dim 6 as last dimension, got 5 of shape "
            "(2, 3, 5)");
  inputs_.query = Zeros({2, 3, 6});
  config_.kdim = 9;
  EXPECT_EQ(Error(),
            "key: expected kdim 9 as last dimension, got 6 of shape (2, 4, 6)");
  inputs_.key = Zeros({2, 4, 9});
  EXPECT_EQ(Error(),
            "value (= key): expected vdim 6 as last dimension, got 9 of shape "
            "(2, 4, 9)");
}

TEST_F(ResolveRequestTest, RefusesDisagreeingSizes) {
  inputs_.value = Zeros({2, 5, 6});
  EXPECT_EQ(Error(),
            "value: expected key's sequence and batch dimensions (2, 4, 6), "
            "got (2, 5, 6)");
  inputs_.value.reset();
  inputs_.key = Zeros({3, 4, 6});
  EXPECT_EQ(Error(),
            "key: expected query's batch size 2, got 3 in shape (3, 4, 6)");
}

TEST_F(ResolveRequestTest, RefusesDtypes) {
  inputs_.key = Zeros({2, 4, 6}, DataType::kFloat64);
  EXPECT_EQ(Error(), "key: expected query's dtype float32, got float64");
  inputs_.query = Zeros({2, 3, 6}, DataType::kInt32);
  EXPECT_EQ(Error(), "query: expected a floating dtype, got int32");
}

TEST_F(ResolveRequestTest, RefusesMaskShapes) {
  inputs_.attn_mask = Zeros({2, 3, 4}, DataType::kBool);
  EXPECT_EQ(Error(),
            "attn_mask: expected shape (N*H, L, S) = (4, 3, 4), got (2, 3, 4)");
  inputs_.attn_mask.reset();
  inputs_.key_padding_mask = Zeros({2, 5}, DataType::kBool);
  EXPECT_EQ(Error(),
            "key_padding_mask: expected shape (N, S) = (2, 4), got (2, 5)");
}

TEST_F(ResolveRequestTest, RefusesValidLens) {
  inputs_.valid_lens = Zeros({3}, DataType::kInt32);
  EXPECT_EQ(Error(), "valid_lens: expected shape (N) = (2), got (3,)");
  inputs_.valid_lens = Zeros({2, 4}, DataType::kInt32);
  EXPECT_EQ(Error(), "valid_lens: expected shape (N, L) = (2, 3), got (2, 4)");
  inputs_.valid_lens = Zeros({2});
  EXPECT_EQ(Error(), "valid_lens: expected int32 or int64, got float32");
}

TEST_F(ResolveRequestTest, RefusesBatchesBeyondTheLimit) {
  inputs_.query = Zeros({(1 << 16) + 1, 0, 6});
  inputs_.key = Zeros({(1 << 16) + 1, 0, 6});
  EXPECT_EQ(Error(), "query: expected a batch of at most 65536, got 65537");
}

// Ragged: 5 query rows and 7 key rows.
class RaggedRequestTest : public ResolveRequestTest {
 protected:
  RaggedRequestTest() {
    inputs_.query = Zeros({5, 6});
    inputs_.key = Zeros({7, 6});
    inputs_.query_lengths = {2, 3};
    inputs_.key_lengths = {6, 1};
  }
};

TEST_F(RaggedRequestTest, LaysOutPackedRows) {
  const auto batch = ResolveRequest(config_, inputs_);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(RowOf((*batch)->sequences[1].query, 0, inputs_.query), 2);
  EXPECT_EQ(RowOf((*batch)->sequences[1].key, 0, *inputs_.key), 6);
  EXPECT_EQ(*(*batch)->shapes.weights, (Shape{2, 3, 6}));
  EXPECT_EQ((*batch)->shapes.output, (Shape{5, 6}));
}

TEST_F(RaggedRequestTest, RefusesLengthsThatDoNotFit) {
  inputs_.query_lengths = {2, 4};
  EXPECT_EQ(Error(),
            "query_lengths[1]: expected 0 to 3 (rows left of 5), got 4");
  inputs_.query_lengths = {2, 2};
  EXPECT_EQ(Error(), "query_lengths: expected a sum of 5 rows, got 4");
  inputs_.query_lengths = {-1, 6};
  EXPECT_EQ(Error(),
            "query_lengths[0]: expected 0 to 5 (rows left of 5), got -1");
  inputs_.query_lengths = {5};
  EXPECT_EQ(Error(),
            "key_lengths: expected 1 lengths, as many as query_lengths, got 2");
}

TEST_F(RaggedRequestTest, RefusesLengthsOfOneSideAlone) {
  inputs_.query_lengths.clear();
  EXPECT_EQ(Error(),
            "query_lengths: expected one length for each sequence as "
            "key_lengths are given, got none");
  inputs_.query_lengths = {2, 3};
  inputs_.key_lengths.clear();
  EXPECT_EQ(Error(),
            "key_lengths: expected one length for each sequence as "
            "query_lengths and key are given, got none");
}

}  // namespace
}  // namespace attention
