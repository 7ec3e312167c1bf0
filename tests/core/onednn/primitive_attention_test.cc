// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/primitive_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/onednn/compute_thread.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::IsClose;
using testing::IsIdentical;

// A request of one sequence, its tensors and its answers.
class Call {
 public:
  Call(const AttentionSpec& spec, std::int64_t queries, std::int64_t keys,
       std::uint64_t seed)
      : spec_(spec),
        query_(
            RandomTensor(DataType::kFloat32, {queries, spec.query_dim}, seed)),
        key_(RandomTensor(DataType::kFloat32, {keys, spec.key_dim}, seed, 1)),
        value_(
            RandomTensor(DataType::kFloat32, {keys, spec.value_dim}, seed, 2)),
        output_(DataType::kFloat32, {queries, spec.output_width()}),
        weights_(DataType::kFloat32,
                 {spec.num_heads, queries, keys + spec.appended_keys()}) {
    plan_.num_heads = spec.num_heads;
    plan_.max_query_length = queries;
    plan_.max_key_length = keys;
    plan_.appended_keys = spec.appended_keys();
    plan_.need_weights = true;
    plan_.average_attn_weights = false;
    plan_.weights = weights_.mutable_view();
    Sequence& sequence = plan_.sequences.emplace_back();
    sequence.request = &plan_;
    sequence.query_length = queries;
    sequence.key_length = keys;
    sequence.num_visible = keys;
    sequence.appended_keys = spec.appended_keys();
    sequence.query = RowsOf(query_);
    sequence.key = RowsOf(key_);
    sequence.value = RowsOf(value_);
    sequence.output = {output_.mutable_view().data, spec.output_width()};
  }

  RequestPlan& plan() { return plan_; }
  const Sequence& sequence() const { return plan_.sequences.front(); }
  TensorView output() const { return output_.view(); }
  TensorView weights() const { return weights_.view(); }

  void Clear() {
    std::ranges::fill(output_.data<float>(), -1.0F);
    std::ranges::fill(weights_.data<float>(), -1.0F);
  }

  // The formula, without projections and appended keys.
  void ExpectRight() const {
    const std::int64_t keys = sequence().key_length;
    Tensor output(DataType::kFloat32, output_.shape());
    Tensor weights(DataType::kFloat32, weights_.shape());
    float* row = weights.data<float>().data();
    for (std::int64_t h = 0; h < spec_.num_heads; ++h) {
      for (std::int64_t i = 0; i < sequence().query_length; ++i, row += keys) {
        AttendRow(h, i, row, output.data<float>().data());
      }
    }
    EXPECT_TRUE(IsClose(weights_.view(), weights.view()));
    EXPECT_TRUE(IsClose(output_.view(), output.view()));
  }

 private:
  static Rows RowsOf(const Tensor& tensor) {
    return {tensor.view().data, tensor.shape().dim(1)};
  }

  void AttendRow(std::int64_t h, std::int64_t i, float* weights,
                 float* output) const {
    const std::int64_t g = h / (spec_.num_heads / spec_.num_key_value_heads);
    const float* q = query_.data<float>().data() + i * spec_.query_width() +
                     h * spec_.head_dim;
    const float* k = key_.data<float>().data() + g * spec_.head_dim;
    const float* v = value_.data<float>().data() + g * spec_.value_head_dim;
    const std::int64_t keys = sequence().key_length;
    std::vector<double> p(static_cast<std::size_t>(keys));
    double sum = 0.0;
    for (std::int64_t j = 0; j < keys; ++j) {
      double score = 0.0;
      for (std::int64_t d = 0; d < spec_.head_dim; ++d) {
        score += double{q[d]} * double{k[j * spec_.key_width() + d]};
      }
      sum += p[static_cast<std::size_t>(j)] = std::exp(spec_.scale * score);
    }
    for (std::int64_t j = 0; j < keys; ++j) {
      p[static_cast<std::size_t>(j)] /= sum;
      weights[j] = static_cast<float>(p[static_cast<std::size_t>(j)]);
    }
    for (std::int64_t d = 0; d < spec_.value_head_dim; ++d) {
      double element = 0.0;
      for (std::int64_t j = 0; j < keys; ++j) {
        element += p[static_cast<std::size_t>(j)] *
                   double{v[j * spec_.value_width() + d]};
      }
      output[i * spec_.output_width() + h * spec_.value_head_dim + d] =
          static_cast<float>(element);
    }
  }

  AttentionSpec spec_;
  Tensor query_, key_, value_, output_, weights_;
  RequestPlan plan_;
};

AttentionSpec SpecOfHeads(std::int64_t heads, std::int64_t key_value_heads,
                          std::int64_t dim, std::int64_t value_dim) {
  AttentionSpec spec;
  spec.num_heads = heads;
  spec.num_key_value_heads = key_value_heads;
  spec.head_dim = dim;
  spec.value_head_dim = value_dim;
  spec.query_dim = spec.query_width();
  spec.key_dim = spec.key_width();
  spec.value_dim = spec.value_width();
  spec.scale = 0.7;
  spec.input_projections = false;
  spec.output_projection = false;
  return spec;
}

AttentionSpec SpecWithProjections() {
  AttentionSpec spec = SpecOfHeads(4, 4, 8, 8);
  spec.query_dim = 20;
  spec.key_dim = 12;
  spec.value_dim = 5;
  spec.input_projections = true;
  spec.output_projection = true;
  spec.add_bias_kv = true;
  spec.add_zero_attn = true;
  return spec;
}

AttentionWeights MakeWeights(const AttentionSpec& spec) {
  const auto random = [](const Shape& shape, std::uint32_t stream) {
    return RandomTensor(DataType::kFloat32, shape, 9, stream, 0.3F);
  };
  AttentionWeights weights;
  if (!spec.input_projections) return weights;
  weights.query = {random({32, spec.query_dim}, 1), random({32}, 2)};
  weights.key = {random({32, spec.key_dim}, 3), std::nullopt};
  weights.value = {random({32, spec.value_dim}, 4), random({32}, 5)};
  weights.output = {random({32, 32}, 6), random({32}, 7)};
  weights.bias_k = random({32}, 8);
  weights.bias_v = random({32}, 9);
  return weights;
}

PrimitiveAttention Make(const AttentionSpec& spec,
                        const AttentionWeights& weights = {}) {
  const ComputeThreadScope scope;
  return PrimitiveAttention(spec, weights);
}

void Forward(const PrimitiveAttention& attention,
             const std::vector<Sequence>& sequences,
             std::size_t num_threads = 1) {
  const ComputeThreadScope scope;
  ComputePool pool(num_threads, Pinning::kNone,
                   {.lease_bytes = 0, .thread_bytes = 0});
  const absl::Status status = attention.Forward(sequences, /*layer=*/0, pool);
  EXPECT_TRUE(status.ok()) << status;
}

// Heads of one column among them; lengths of one tile and several, of one row
// and several, whose heads are computed together and alone.
TEST(PrimitiveAttentionTest, FollowsTheFormula) {
  for (const AttentionSpec& spec :
       {SpecOfHeads(3, 3, 8, 8), SpecOfHeads(6, 2, 8, 5),
        SpecOfHeads(17, 17, 1, 1), SpecOfHeads(4, 1, 1, 3),
        SpecOfHeads(4, 2, 3, 1), SpecOfHeads(1, 1, 16, 1)}) {
    const PrimitiveAttention attention = Make(spec);
    for (const auto& [queries, keys] : std::vector<std::pair<int, int>>{
             {1, 1}, {3, 2}, {16, 33}, {21, 100}, {130, 64}, {5, 3000}}) {
      SCOPED_TRACE(::testing::Message()
                   << spec.num_heads << " heads of " << spec.head_dim << " and "
                   << spec.value_head_dim << ", " << queries << " queries, "
                   << keys << " keys");
      Call call(spec, queries, keys, 1);
      call.Clear();
      Forward(attention, {call.sequence()}, 2);
      call.ExpectRight();
    }
  }
}

class PrimitivePassTest : public ::testing::TestWithParam<AttentionSpec> {
 protected:
  PrimitivePassTest() {
    std::uint64_t seed = 0;
    for (const std::int64_t queries : {1, 4, 0, 17, 64, 131, 1, 40}) {
      for (const std::int64_t keys : {1, 30, 0, 200, 1100}) {
        calls_.push_back(std::make_unique<Call>(spec_, queries, keys, ++seed));
      }
    }
  }

  // Outputs and weights of each call's own pass.
  void ComputeAlone() {
    for (const auto& call : calls_) {
      call->Clear();
      Forward(attention_, {call->sequence()});
      alone_.push_back(Tensor::Copy(call->output()));
      alone_.push_back(Tensor::Copy(call->weights()));
      call->Clear();
    }
  }
  void ExpectAsAlone(std::size_t i) const {
    EXPECT_TRUE(IsIdentical(calls_[i]->output(), alone_[2 * i].view())) << i;
    EXPECT_TRUE(IsIdentical(calls_[i]->weights(), alone_[2 * i + 1].view()))
        << i;
  }
  std::vector<Sequence> All() const {
    std::vector<Sequence> sequences;
    for (const auto& call : calls_) sequences.push_back(call->sequence());
    return sequences;
  }

  const AttentionSpec spec_ = GetParam();
  const PrimitiveAttention attention_ = Make(spec_, MakeWeights(spec_));
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Tensor> alone_;
};

TEST_P(PrimitivePassTest, ComputesEachSequenceAsItWouldBeAlone) {
  ComputeAlone();
  for (const std::size_t num_threads : {1U, 3U}) {
    for (const auto& call : calls_) call->Clear();
    Forward(attention_, All(), num_threads);
    for (std::size_t i = 0; i < calls_.size(); ++i) ExpectAsAlone(i);
  }
}

TEST_P(PrimitivePassTest, ARowsBitsDependOnNoOtherQuery) {
  ComputeAlone();
  const std::size_t longest = 5 * 5 + 3;  // 131 queries, 200 keys
  Sequence part = calls_[longest]->sequence();
  for (const std::int64_t first : {0, 1, 37, 130}) {
    for (const std::int64_t count : {1, 2, 7, 18, 60, 101}) {
      if (first + count > 131) continue;
      calls_[longest]->Clear();
      part.query_length = count;
      part.query.data = calls_[longest]->sequence().query.row(first);
      Forward(attention_, {part}, 2);
      const TensorView whole = alone_[2 * longest].view();
      const TensorView got = calls_[longest]->output();
      const std::int64_t width = spec_.output_width();
      ASSERT_TRUE(IsIdentical(
          {got.data, DataType::kFloat32, {count, width}},
          {whole.data + first * width * 4, DataType::kFloat32, {count, width}}))
          << "rows " << first << " to " << first + count;
    }
  }
}

TEST_P(PrimitivePassTest, LeavesOneStoppedRequestAndNoOther) {
  ComputeAlone();
  const std::size_t stopped = 3 * 5 + 3;  // 17 queries, 200 keys
  RequestPlan& plan = calls_[stopped]->plan();
  const MutableTensorView weights = plan.weights;
  plan.Bind({.output = {plan.sequences.front().output.data, DataType::kFloat32,
                        calls_[stopped]->output().shape},
             .weights = weights},
            [] { return true; });
  plan.sequences.front().output.step = spec_.output_width();
  for (const std::size_t num_threads : {1U, 2U}) {
    Forward(attention_, All(), num_threads);
    EXPECT_TRUE(plan.was_stopped());
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (i != stopped) ExpectAsAlone(i);
    }
    EXPECT_EQ(testing::ToDoubles(calls_[stopped]->weights())[0], -1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, PrimitivePassTest,
                         ::testing::Values(SpecWithProjections(),
                                           SpecOfHeads(4, 2, 5, 17),
                                           SpecOfHeads(6, 3, 8, 8),
                                           SpecOfHeads(3, 1, 8, 4)),
                         [](const auto& parameter) {
                           const AttentionSpec& spec = parameter.param;
                           return std::to_string(spec.num_heads) + "Of" +
                                  std::to_string(spec.num_key_value_heads);
                         });

TEST(PrimitiveUnpackTest, ReturnsTheWeightsItWasMadeOf) {
  const AttentionSpec spec = SpecWithProjections();
  const AttentionWeights weights = MakeWeights(spec);
  const AttentionWeights unpacked = Make(spec, weights).Unpack();
  const auto expect_same = [](const LinearWeights& got,
                              const LinearWeights& want) {
    EXPECT_TRUE(IsIdentical(got.weight.view(), want.weight.view()));
    ASSERT_EQ(got.bias.has_value(), want.bias.has_value());
    if (want.bias) {
      EXPECT_TRUE(IsIdentical(got.bias->view(), want.bias->view()));
    }
  };
  expect_same(unpacked.query, weights.query);
  expect_same(unpacked.key, weights.key);
  expect_same(unpacked.value, weights.value);
  expect_same(unpacked.output, weights.output);
  EXPECT_TRUE(IsIdentical(unpacked.bias_k->view(), weights.bias_k->view()));
  EXPECT_TRUE(IsIdentical(unpacked.bias_v->view(), weights.bias_v->view()));
}

TEST(PrimitiveUnpackTest, ReturnsNothingWhereThereIsNothing) {
  const AttentionWeights unpacked = Make(SpecOfHeads(2, 2, 4, 4)).Unpack();
  EXPECT_EQ(unpacked.query.weight.shape().num_elements(), 0);
  EXPECT_FALSE(unpacked.output.bias.has_value());
  EXPECT_FALSE(unpacked.bias_k.has_value());
}

}  // namespace
}  // namespace attention
