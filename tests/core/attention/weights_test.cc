// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::IsIdentical;

// A state_dict for a config.
class StateDict {
 public:
  explicit StateDict(const ModuleConfig& config, std::string_view prefix = "") {
    const std::vector<WeightSpec> specs = ExpectedWeights(config);
    tensors_.reserve(specs.size() + 1);
    for (const WeightSpec& spec : specs) {
      Add(std::string(prefix).append(spec.name), DataType::kFloat32,
          spec.shape);
    }
  }
  void Add(const std::string& name, DataType dtype, const Shape& shape) {
    tensors_.push_back(RandomTensor(
        dtype, shape, 5, static_cast<std::uint32_t>(tensors_.size())));
    named.insert_or_assign(name, tensors_.back().view());
  }
  NamedTensors named;

 private:
  std::vector<Tensor> tensors_;
};

MultiHeadAttentionConfig Config() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 4;
  config.num_heads = 2;
  return config;
}

TEST(WeightsTest, ListsPackedAndSeparateProjections) {
  MultiHeadAttentionConfig config = Config();
  EXPECT_EQ(ExpectedWeights(config).front().name, "in_proj_weight");
  config.kdim = 3;
  config.bias = false;
  config.add_bias_kv = true;
  std::vector<std::string> names;
  for (const WeightSpec& spec : ExpectedWeights(config)) {
    names.emplace_back(spec.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"q_proj_weight", "k_proj_weight",
                                             "v_proj_weight", "bias_k",
                                             "bias_v", "out_proj.weight"}));
}

TEST(WeightsTest, SplitsInProjInTheOrderQueryKeyValue) {
  const StateDict dict(Config());
  const auto weights = CollectWeights(Config(), dict.named);
  ASSERT_TRUE(weights.ok()) << weights.status();

  const TensorView packed = dict.named.find("in_proj_weight")->second;
  const Shape square = {4, 4};
  const auto part = [&](std::size_t i) {
    return TensorView{packed.data + i * 64, DataType::kFloat32, square};
  };
  EXPECT_TRUE(
      IsIdentical(weights->layers[0].attention.query.weight.view(), part(0)));
  EXPECT_TRUE(
      IsIdentical(weights->layers[0].attention.key.weight.view(), part(1)));
  EXPECT_TRUE(
      IsIdentical(weights->layers[0].attention.value.weight.view(), part(2)));
}

TEST(WeightsTest, ReadsBelowAPrefixAndIgnoresTheRest) {
  StateDict dict(Config(), "layers.0.self_attn.");
  dict.Add("norm.weight", DataType::kFloat32, {4});
  EXPECT_TRUE(
      CollectWeights(Config(), dict.named, {.prefix = "layers.0.self_attn."})
          .ok());
}

TEST(WeightsTest, ConvertsToTheConfigsDtype) {
  MultiHeadAttentionConfig config = Config();
  const StateDict dict(config);
  config.dtype = DataType::kBFloat16;
  const auto weights = CollectWeights(config, dict.named);
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(weights->dtype, DataType::kBFloat16);
  EXPECT_EQ(weights->layers[0].attention.output.weight.dtype(),
            DataType::kBFloat16);
}

TEST(WeightsTest, ThoseOfFloat64AreNotComputedWithInBFloat16) {
  MultiHeadAttentionConfig config = Config();
  config.compute_dtype = DataType::kBFloat16;
  StateDict dict(config);
  EXPECT_TRUE(CollectWeights(config, dict.named).ok());
  StateDict wide(config);
  for (const WeightSpec& spec : ExpectedWeights(config)) {
    wide.Add(spec.name, DataType::kFloat64, spec.shape);
  }

  const absl::Status status = CollectWeights(config, wide.named).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "compute_dtype: expected float32 with float64 weights, got "
            "bfloat16");
  config.dtype = DataType::kFloat32;
  EXPECT_TRUE(CollectWeights(config, wide.named).ok());
}

TEST(WeightsTest, SaysWhatIsWrongWithATensor) {
  StateDict dict(Config());
  dict.Add("bias_k", DataType::kFloat32, {1, 1, 4});
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"bias_k\" of shape (1, 1, 4) does not belong to "
            "a module of this config; give the weights_prefix of those that "
            "do, or name \"bias_k\" in weight_names.ignored");

  dict.named.erase("bias_k");
  dict.Add("out_proj.bias", DataType::kFloat32, {5});
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"out_proj.bias\": expected shape (4,), got (5,)");

  dict.Add("out_proj.bias", DataType::kFloat16, {4});
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"out_proj.bias\" is float16 but "
            "\"in_proj_bias\" is float32; expected one dtype, or a config "
            "with dtype set");

  dict.named.erase("out_proj.weight");
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"out_proj.weight\" of shape (4, 4) is missing");
}

std::vector<std::string> NamesOf(const ModuleConfig& config,
                                 const WeightSource& source = {}) {
  const auto specs = ExpectedWeightsIn(config, source);
  EXPECT_TRUE(specs.ok()) << specs.status();
  std::vector<std::string> names;
  for (const WeightSpec& spec : *specs) names.push_back(spec.name);
  return names;
}

TEST(WeightsTest, ListsD2lsNames) {
  EXPECT_EQ(NamesOf(D2lMultiHeadAttentionConfig{
                .num_hiddens = 4, .num_heads = 2, .bias = true}),
            (std::vector<std::string>{"W_q.weight", "W_q.bias", "W_k.weight",
                                      "W_k.bias", "W_v.weight", "W_v.bias",
                                      "W_o.weight", "W_o.bias"}));
  EXPECT_EQ(NamesOf(D2lTransformerEncoderBlockConfig{
                .num_hiddens = 4, .ffn_num_hiddens = 6, .num_heads = 2}),
            (std::vector<std::string>{
                "attention.W_q.weight", "attention.W_k.weight",
                "attention.W_v.weight", "attention.W_o.weight",
                "ffn.dense1.weight", "ffn.dense1.bias", "ffn.dense2.weight",
                "ffn.dense2.bias", "addnorm1.ln.weight", "addnorm1.ln.bias",
                "addnorm2.ln.weight", "addnorm2.ln.bias"}));
}

TEST(WeightsTest, ListsTheLayersOfAStackAndItsNorm) {
  const TransformerEncoderConfig config = {
      .layer =
          TransformerEncoderLayerConfig{
              .d_model = 4, .nhead = 2, .dim_feedforward = 6, .bias = false},
      .num_layers = 2,
      .norm = true};
  EXPECT_EQ(NamesOf(config),
            (std::vector<std::string>{
                "layers.0.self_attn.in_proj_weight",
                "layers.0.self_attn.out_proj.weight", "layers.0.linear1.weight",
                "layers.0.linear2.weight", "layers.0.norm1.weight",
                "layers.0.norm2.weight", "layers.1.self_attn.in_proj_weight",
                "layers.1.self_attn.out_proj.weight", "layers.1.linear1.weight",
                "layers.1.linear2.weight", "layers.1.norm1.weight",
                "layers.1.norm2.weight", "norm.weight"}));
}

TEST(WeightsTest, ScaledDotProductAttentionHasNone) {
  const ScaledDotProductAttentionConfig config = {.num_heads = 2,
                                                  .head_dim = 4};
  const auto weights = CollectWeights(config, {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->num_bytes, 0U);
}

TEST(WeightsTest, D2lsDotProductAttentionHasNone) {
  const auto weights =
      CollectWeights(D2lDotProductAttentionConfig{.query_size = 4}, {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->num_bytes, 0U);
}

TEST(WeightsTest, RenamesRunsOfComponentsTheLongestFirst) {
  MultiHeadAttentionConfig config = Config();
  config.separate_projections = true;
  config.bias = false;
  const WeightSource source = {.prefix = "attn.",
                               .renamed = {{"q_proj", "q"},
                                           {"k_proj.weight", "key_matrix"},
                                           {"k_proj", "unused"},
                                           {"weight", "w"},
                                           {"proj", "unused"}}};
  EXPECT_EQ(NamesOf(config, source),
            (std::vector<std::string>{"attn.q.w", "attn.key_matrix",
                                      "attn.v_proj.w", "attn.out_proj.w"}));
}

TEST(WeightsTest, RefusesToGiveOneNameToTwoTensors) {
  const WeightSource source = {
      .renamed = {{"in_proj_bias", "b"}, {"in_proj_weight", "b"}}};
  const absl::Status status = CollectWeights(Config(), {}, source).status();
  EXPECT_EQ(status.message(),
            "renamed weights: expected a name of its own for each tensor, "
            "got \"b\" for two");
}

TEST(WeightsTest, RefusesNamesWithoutMeasure) {
  const auto message = [](const WeightSource& source) {
    return std::string(ExpectedWeightsIn(Config(), source).status().message());
  };
  const std::string kilobyte(1024, 'x');

  EXPECT_THAT(message({.prefix = kilobyte + "."}),
              ::testing::HasSubstr("prefix: expected at most 1024 bytes"));
  EXPECT_THAT(message({.renamed = {{"out_proj", ""}}}),
              ::testing::HasSubstr("expected names of 1 to 1024 bytes"));
  EXPECT_THAT(message({.renamed = {{"out_proj", kilobyte + "x"}}}),
              ::testing::HasSubstr("expected names of 1 to 1024 bytes"));
  EXPECT_THAT(message({.renamed = {{"out_proj", kilobyte}}}),
              ::testing::HasSubstr("a name of at most 1024 bytes, got 1031"));
  WeightSource many;
  for (int i = 0; i < 257; ++i) many.renamed.emplace(std::to_string(i), "x");
  EXPECT_THAT(message(many),
              ::testing::HasSubstr("expected at most 256, got 257"));
}

TEST(WeightsTest, RefusesATensorItDoesNotKnowInsideThePrefix) {
  MultiHeadAttentionConfig config = Config();
  const StateDict with_bias(config, "a.");
  config.bias = false;
  EXPECT_EQ(CollectWeights(config, with_bias.named, {.prefix = "a."})
                .status()
                .message(),
            "weights: tensor \"a.in_proj_bias\" of shape (12,) does not belong "
            "to a module of this config; give the weights_prefix of those that "
            "do, or name \"in_proj_bias\" in weight_names.ignored");
}

TEST(WeightsTest, TransposesMatrices) {
  const MultiHeadAttentionConfig config = {.embed_dim = 4,
                                           .num_heads = 1,
                                           .bias = false,
                                           .kdim = 3,
                                           .query_dim = 2,
                                           .output_projection = false,
                                           .separate_projections = true};
  Tensor query(DataType::kFloat32, {2, 4});
  std::iota(query.data<float>().begin(), query.data<float>().end(), 0.0F);
  const Tensor key = RandomTensor(DataType::kFloat32, {3, 4}, 1);
  const Tensor value = RandomTensor(DataType::kFloat32, {4, 4}, 1);
  const NamedTensors named = {{"q_proj.weight", query.view()},
                              {"k_proj.weight", key.view()},
                              {"v_proj.weight", value.view()}};

  EXPECT_FALSE(CollectWeights(config, named).ok());
  const auto weights = CollectWeights(config, named, {.transposed = true});

  ASSERT_TRUE(weights.ok()) << weights.status();
  const Tensor& matrix = weights->layers[0].attention.query.weight;
  EXPECT_EQ(matrix.shape(), (Shape{4, 2}));
  EXPECT_THAT(matrix.data<float>(),
              ::testing::ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
}

TEST(WeightsTest, SelectsUnderTheModulesOwnNames) {
  StateDict dict(Config(), "a.");
  dict.Add("b.in_proj_weight", DataType::kFloat32, {12, 4});

  const auto selected = SelectWeights(Config(), dict.named, {.prefix = "a."});

  ASSERT_TRUE(selected.ok()) << selected.status();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : selected->tensors) names.push_back(name);
  EXPECT_THAT(names,
              ::testing::ElementsAre("in_proj_bias", "in_proj_weight",
                                     "out_proj.bias", "out_proj.weight"));
}

TEST(WeightsTest, ListsWhatItCollected) {
  const TransformerEncoderConfig config = {
      .layer =
          TransformerEncoderLayerConfig{
              .d_model = 4, .nhead = 2, .dim_feedforward = 6},
      .num_layers = 2,
      .norm = true};
  const StateDict dict(config);
  const auto weights = CollectWeights(config, dict.named);
  ASSERT_TRUE(weights.ok()) << weights.status();

  std::size_t num_bytes = 0;
  for (const StoredWeight& stored : ListWeights(config, *weights)) {
    const TensorView& original = dict.named.at(stored.spec.name);
    EXPECT_EQ(stored.spec.shape, original.shape) << stored.spec.name;
    const std::byte* expected = original.data;
    for (const Tensor* part : stored.parts) {
      EXPECT_TRUE(IsIdentical(part->view(),
                              {expected, DataType::kFloat32, part->shape()}))
          << stored.spec.name;
      expected += part->num_bytes();
      num_bytes += part->num_bytes();
    }
    EXPECT_EQ(expected, original.data + original.num_bytes());
  }
  EXPECT_EQ(weights->num_bytes, num_bytes);
}

}  // namespace
}  // namespace attention
