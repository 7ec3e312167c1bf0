// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weights.h"

#include <gtest/gtest.h>

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
  explicit StateDict(const MultiHeadAttentionConfig& config,
                     std::string_view prefix = "") {
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
  EXPECT_TRUE(IsIdentical(weights->query.weight.view(), part(0)));
  EXPECT_TRUE(IsIdentical(weights->key.weight.view(), part(1)));
  EXPECT_TRUE(IsIdentical(weights->value.weight.view(), part(2)));
}

TEST(WeightsTest, ReadsBelowAPrefixAndIgnoresTheRest) {
  StateDict dict(Config(), "layers.0.self_attn.");
  dict.Add("norm.weight", DataType::kFloat32, {4});
  EXPECT_TRUE(CollectWeights(Config(), dict.named, "layers.0.self_attn.").ok());
}

TEST(WeightsTest, ConvertsToTheConfigsDtype) {
  MultiHeadAttentionConfig config = Config();
  const StateDict dict(config);
  config.dtype = DataType::kBFloat16;
  const auto weights = CollectWeights(config, dict.named);
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(weights->dtype, DataType::kBFloat16);
  EXPECT_EQ(weights->output.weight.dtype(), DataType::kBFloat16);
}

TEST(WeightsTest, SaysWhatIsWrongWithATensor) {
  StateDict dict(Config());
  dict.Add("bias_k", DataType::kFloat32, {1, 1, 4});
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"bias_k\" of shape (1, 1, 4) does not belong to "
            "a module of this config");

  dict.named.erase("bias_k");
  dict.Add("out_proj.bias", DataType::kFloat32, {5});
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"out_proj.bias\": expected shape (4,), got (5,)");

  dict.Add("out_proj.bias", DataType::kFloat16, {4});
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"out_proj.bias\" is float16 but "
            "\"in_proj_weight\" is float32; expected one dtype, or a config "
            "with dtype set");

  dict.named.erase("out_proj.weight");
  EXPECT_EQ(CollectWeights(Config(), dict.named).status().message(),
            "weights: tensor \"out_proj.weight\" of shape (4, 4) is missing");
}

}  // namespace
}  // namespace attention
