// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/attention_case.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <utility>

#include "core/onednn/onednn_attention.h"
#include "core/tensor/convert.h"
#include "core/tensor/random_tensor.h"

namespace attention::testing {
namespace {

// Draws a RandomCase field by field.
class CaseMaker {
 public:
  CaseMaker(std::uint64_t seed, RandomCase& result)
      : random_(seed), seed_(seed), case_(result) {}

  void MakeConfig() {
    MultiHeadAttentionConfig& config = case_.config;
    config.num_heads = Pick({1, 2, 3, 4, 8});
    config.embed_dim = config.num_heads * Pick({1, 4, 5, 16, 33});
    config.bias = Chance(2);
    config.add_bias_kv = Chance(3);
    config.add_zero_attn = Chance(3);
    config.batch_first = Chance(2);
    config.dropout = Chance(4) ? 0.3 : 0.0;
    if (Chance(3)) config.kdim = Pick({1, 7, 20});
    if (Chance(3)) config.vdim = Pick({1, 7, 20});
  }

  void MakeInputs(DataType dtype) {
    AttentionInputs& inputs = case_.inputs;
    const MultiHeadAttentionConfig& config = case_.config;
    batched_ = !Chance(4);
    batch_ = batched_ ? Pick({0, 1, 2, 3}) : 1;
    length_ = Pick({0, 1, 3, 17, 64, 70});
    keys_ = Pick({0, 1, 5, 16, 33, 90});
    inputs.query = Random(dtype, Layout(length_, config.embed_dim));
    inputs.key = Random(dtype, Layout(keys_, config.key_dim()));
    inputs.value = Random(dtype, Layout(keys_, config.value_dim()));
    inputs.need_weights = Chance(2);
    inputs.average_attn_weights = Chance(2);
    inputs.training = Chance(2);
    inputs.dropout_seed = seed_;
    inputs.masked_row_policy = static_cast<MaskedRowPolicy>(Pick({0, 0, 1, 2}));
    inputs.causal = static_cast<Causal>(Pick({0, 0, 1, 2}));
    MakeMasks(dtype);
  }

 private:
  bool Chance(int one_in) { return Pick({1, 0}, one_in) == 1; }
  std::int64_t Pick(std::initializer_list<std::int64_t> values,
                    int one_in = 0) {
    if (one_in > 0) return random_() % static_cast<unsigned>(one_in) == 0;
    return values.begin()[random_() % values.size()];
  }

  std::vector<std::int64_t> Layout(std::int64_t length,
                                   std::int64_t width) const {
    if (!batched_) return {length, width};
    if (case_.config.batch_first) return {batch_, length, width};
    return {length, batch_, width};
  }

  TensorView Keep(Tensor tensor) {
    case_.storage.push_back(std::make_unique<Tensor>(std::move(tensor)));
    return case_.storage.back()->view();
  }

  TensorView Random(DataType dtype, const std::vector<std::int64_t>& dims) {
    return Keep(RandomTensor(dtype, *Shape::Create(dims), seed_, ++stream_));
  }

  // A mask that hides about a quarter of its elements.
  TensorView Mask(DataType dtype, const std::vector<std::int64_t>& dims) {
    Tensor mask(dtype, *Shape::Create(dims));
    std::byte* element = mask.mutable_view().data;
    for (std::int64_t i = 0; i < mask.shape().num_elements(); ++i) {
      const bool hidden = Chance(4);
      if (dtype == DataType::kBool) {
        *element = std::byte{hidden};
      } else {
        const float value = hidden ? -std::numeric_limits<float>::infinity()
                                   : static_cast<float>(Pick({0, 1, -2}));
        StoreReals(&value, 1, dtype, element);
      }
      element += DataTypeSize(dtype);
    }
    return Keep(std::move(mask));
  }

  void MakeMasks(DataType dtype) {
    AttentionInputs& inputs = case_.inputs;
    const auto mask_dtype = [&] { return Chance(2) ? DataType::kBool : dtype; };
    if (Chance(2)) {
      std::vector<std::int64_t> dims = {length_, keys_};
      if (Chance(2)) dims.insert(dims.begin(), batch_ * case_.config.num_heads);
      inputs.attn_mask = Mask(mask_dtype(), dims);
      inputs.is_causal = Chance(3);
    }
    if (Chance(2)) {
      std::vector<std::int64_t> dims = {keys_};
      if (batched_) dims.insert(dims.begin(), batch_);
      inputs.key_padding_mask = Mask(mask_dtype(), dims);
    }
    if (Chance(4)) MakeValidLens();
  }

  void MakeValidLens() {
    const bool per_row = Chance(2);
    Tensor lens(DataType::kInt64,
                per_row ? Shape{batch_, length_} : Shape{batch_});
    for (std::int64_t& length : lens.data<std::int64_t>()) {
      length = Pick({0, 1, 4, keys_, keys_ + 3});
    }
    case_.inputs.valid_lens = Keep(std::move(lens));
  }

  std::mt19937_64 random_;
  std::uint64_t seed_;
  RandomCase& case_;
  std::uint32_t stream_ = 100;
  bool batched_ = true;
  std::int64_t batch_ = 1, length_ = 0, keys_ = 0;
};

}  // namespace

AttentionWeights MakeWeights(const MultiHeadAttentionConfig& config,
                             DataType dtype, std::uint64_t seed) {
  std::vector<Tensor> tensors;
  NamedTensors named;
  const std::vector<WeightSpec> specs = ExpectedWeights(config);
  tensors.reserve(specs.size());
  for (const WeightSpec& spec : specs) {
    const auto stream = static_cast<std::uint32_t>(tensors.size());
    tensors.push_back(RandomTensor(dtype, spec.shape, seed, stream, 0.25F));
    named.emplace(spec.name, tensors.back().view());
  }
  absl::StatusOr<AttentionWeights> weights = CollectWeights(config, named);
  EXPECT_TRUE(weights.ok()) << weights.status();
  return *std::move(weights);
}

ImplementationKind ReferenceKind() {
  return {"Reference",
          [](const MultiHeadAttentionConfig& config, AttentionWeights weights) {
            return MakeReferenceAttention(
                config,
                std::make_shared<const AttentionWeights>(std::move(weights)));
          }};
}

ImplementationKind OneDnnKind() {
  return {"OneDnn", [](const MultiHeadAttentionConfig& config,
                       const AttentionWeights& weights) {
            auto attention = MakeOneDnnAttention(config, weights);
            EXPECT_TRUE(attention.ok()) << attention.status();
            return *std::move(attention);
          }};
}

Answer Compute(const MultiHeadAttention& attention,
               const MultiHeadAttentionConfig& config,
               const AttentionInputs& inputs, ComputePool& pool) {
  const absl::StatusOr<PackedBatch> batch = ResolveRequest(config, inputs);
  EXPECT_TRUE(batch.ok()) << batch.status();
  if (!batch.ok()) return {};
  Answer answer{Tensor(inputs.query.dtype, batch->shapes.output), {}};
  AttentionOutputs outputs{answer.output.mutable_view(), {}};
  if (batch->shapes.weights) {
    answer.weights.emplace(inputs.query.dtype, *batch->shapes.weights);
    outputs.weights = answer.weights->mutable_view();
  }
  const absl::Status status = attention.Forward(*batch, outputs, pool);
  EXPECT_TRUE(status.ok()) << status;
  return answer;
}

RandomCase::RandomCase(std::uint64_t seed, DataType dtype) {
  CaseMaker maker(seed, *this);
  maker.MakeConfig();
  weights = MakeWeights(config, dtype, seed);
  maker.MakeInputs(dtype);
}

}  // namespace attention::testing
