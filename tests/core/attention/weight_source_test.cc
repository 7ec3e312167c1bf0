// SPDX-License-Identifier: Apache-2.0
// Files that do not name or lay out a module's weights as the module does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ranges>
#include <string>
#include <vector>

#include "core/attention/weights.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using ::testing::HasSubstr;
using testing::IsIdentical;

// Tensors a file has.
class File {
 public:
  const Tensor& Add(const std::string& name, DataType dtype,
                    const Shape& shape) {
    Tensor& tensor = tensors_[name];
    tensor = IsFloating(dtype)
                 ? RandomTensor(dtype, shape, 5,
                                static_cast<std::uint32_t>(tensors_.size()))
                 : Tensor(dtype, shape);  // nobody reads it
    return tensor;
  }
  const Tensor& Add(const std::string& name, const Shape& shape) {
    return Add(name, DataType::kFloat32, shape);
  }
  [[nodiscard]] NamedTensors views() const {
    NamedTensors views;
    for (const auto& [name, tensor] : tensors_) {
      views.emplace(name, tensor.view());
    }
    return views;
  }

 private:
  std::map<std::string, Tensor> tensors_;
};

// Whisper's attention: the key has no bias.
MultiHeadAttentionConfig Whisper() {
  return {.embed_dim = 4, .num_heads = 2, .separate_projections = true};
}

File WhisperFile(DataType dtype = DataType::kFloat32) {
  File file;
  for (const std::string layer : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    file.Add("attn." + layer + ".weight", dtype, {4, 4});
    if (layer != "k_proj") file.Add("attn." + layer + ".bias", dtype, {4});
  }
  return file;
}

const WeightSource kWhisperSource = {.prefix = "attn.",
                                     .zero_biases = {"k_proj.bias"}};

std::string MessageOf(const ModuleConfig& config, const NamedTensors& tensors,
                      const WeightSource& source,
                      const ForeignTensors& foreign = {}) {
  const absl::Status status =
      SelectWeights(config, tensors, source, foreign).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

// Elements [begin, end) of columns of a matrix, as it would lie (out, in).
Tensor ColumnsTransposed(const Tensor& matrix, std::int64_t begin,
                         std::int64_t end) {
  const std::int64_t rows = matrix.shape().dim(0);
  const std::int64_t columns = matrix.shape().dim(1);
  Tensor out(DataType::kFloat32, {end - begin, rows});
  for (std::int64_t i = begin; i < end; ++i) {
    for (std::int64_t j = 0; j < rows; ++j) {
      out.data<float>()[static_cast<std::size_t>((i - begin) * rows + j)] =
          matrix.data<float>()[static_cast<std::size_t>(j * columns + i)];
    }
  }
  return out;
}

TEST(ZeroBiasesTest, AreZeroInTheDtypeOfTheOthers) {
  const File file = WhisperFile(DataType::kFloat16);

  const auto weights = CollectWeights(Whisper(), file.views(), kWhisperSource);

  ASSERT_TRUE(weights.ok()) << weights.status();
  const Tensor& bias = *weights->layers[0].attention.key.bias;
  EXPECT_EQ(weights->dtype, DataType::kFloat16);
  EXPECT_EQ(bias.dtype(), DataType::kFloat16);
  EXPECT_TRUE(
      std::ranges::all_of(std::span(bias.view().data, bias.num_bytes()),
                          [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST(ZeroBiasesTest, AreAmongTheSelectedUnderTheModulesOwnName) {
  const File file = WhisperFile();

  const auto selected = SelectWeights(Whisper(), file.views(), kWhisperSource);

  ASSERT_TRUE(selected.ok()) << selected.status();
  EXPECT_EQ(selected->tensors.size(), 8U);
  EXPECT_EQ(selected->tensors.at("k_proj.bias").shape, Shape({4}));
}

TEST(ZeroBiasesTest, ArePackedAsAWhole) {
  MultiHeadAttentionConfig config{.embed_dim = 4, .num_heads = 2};
  File file;
  file.Add("in_proj_weight", {12, 4});
  file.Add("out_proj.weight", {4, 4});
  file.Add("out_proj.bias", {4});

  EXPECT_TRUE(
      CollectWeights(config, file.views(), {.zero_biases = {"in_proj_bias"}})
          .ok());
}

TEST(ZeroBiasesTest, MayBeANormsOrAWholeStacks) {
  const TransformerEncoderConfig config = {
      .layer =
          TransformerEncoderLayerConfig{
              .d_model = 4, .nhead = 2, .dim_feedforward = 6},
      .num_layers = 1};
  File file;
  WeightSource source;
  for (const WeightSpec& spec : ExpectedWeights(config)) {
    if (spec.name.ends_with("weight")) {
      file.Add(spec.name, spec.shape);
    } else {
      source.zero_biases.insert(spec.name);
    }
  }
  ASSERT_TRUE(source.zero_biases.contains("layers.0.norm1.bias"));

  EXPECT_TRUE(CollectWeights(config, file.views(), source).ok());
}

TEST(ZeroBiasesTest, MayBeTheMostOfTheLargestStack) {
  const TransformerEncoderConfig config = {
      .layer =
          TransformerEncoderLayerConfig{
              .d_model = 4, .nhead = 2, .dim_feedforward = 6},
      .num_layers = kMaxLayers};
  const std::vector<WeightSpec> all = ExpectedWeights(config);
  WeightSource source;
  for (const WeightSpec& spec : all | std::views::reverse) {
    if (source.zero_biases.size() == WeightSource::kMaxEntries) break;
    if (spec.name.ends_with("bias")) source.zero_biases.insert(spec.name);
  }

  const auto left = ExpectedWeightsIn(config, source);

  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_EQ(left->size(), all.size() - WeightSource::kMaxEntries);
}

TEST(ZeroBiasesTest, AreNeverFilledInUnasked) {
  const File file = WhisperFile();

  EXPECT_EQ(MessageOf(Whisper(), file.views(), {.prefix = "attn."}),
            "weights: tensor \"attn.k_proj.bias\" of shape (4,) is missing; if "
            "it is zero, name \"k_proj.bias\" in weight_names.zero_biases");
}

TEST(ZeroBiasesTest, MustNotBeInTheFile) {
  File file = WhisperFile();
  file.Add("attn.k_proj.bias", {4});

  EXPECT_THAT(MessageOf(Whisper(), file.views(), kWhisperSource),
              HasSubstr("zero biases: tensor \"attn.k_proj.bias\" is there"));
}

TEST(ZeroBiasesTest, MustNotBeInTheFileInAnotherDtype) {
  const File file = WhisperFile();

  EXPECT_THAT(MessageOf(Whisper(), file.views(), kWhisperSource,
                        {{"attn.k_proj.bias", "I8"}}),
              HasSubstr("\"attn.k_proj.bias\" is there"));
}

TEST(ZeroBiasesTest, MustBeBiasesOfTheModule) {
  const File file = WhisperFile();
  for (const char* name : {"k_proj.weight", "K_proj.bias", "attn.k_proj.bias",
                           "bias", "k_proj", "in_proj_bias"}) {
    EXPECT_THAT(MessageOf(Whisper(), file.views(),
                          {.prefix = "attn.", .zero_biases = {name}}),
                HasSubstr(std::string("no bias \"") + name + "\""));
  }
  MultiHeadAttentionConfig config{
      .embed_dim = 4, .num_heads = 2, .add_bias_kv = true};
  EXPECT_THAT(MessageOf(config, {}, {.zero_biases = {"bias_k"}}),
              HasSubstr("no bias \"bias_k\""));
}

TEST(IgnoredWeightsTest, AreNamesAndLeadingRunsOfComponents) {
  File file = WhisperFile();
  file.Add("attn.k_proj.bias", {4});
  file.Add("attn.masked_bias", {});
  file.Add("attn.norm.weight", {4});
  file.Add("attn.norm.bias", {4});
  file.Add("attn.position_ids", DataType::kInt64, {1, 4});
  file.Add("attn.causal", DataType::kBool, {4, 4});

  const auto selected = SelectWeights(
      Whisper(), file.views(),
      {.prefix = "attn.",
       .ignored = {"masked_bias", "norm", "position_ids", "causal", "rotary"}},
      {{"attn.rotary.mask", "U8"}});

  ASSERT_TRUE(selected.ok()) << selected.status();
  EXPECT_EQ(selected->tensors.size(), 8U);
}

TEST(IgnoredWeightsTest, MustBeThere) {
  File file = WhisperFile();
  file.Add("norm.weight", {4});  // outside the prefix
  file.Add("attn.norms", {4});
  WeightSource source = kWhisperSource;
  for (const char* name : {"norm", "norm.weight", "attn.norms", "norms."}) {
    source.ignored = {"norms", name};
    EXPECT_THAT(MessageOf(Whisper(), file.views(), source),
                HasSubstr(std::string("no tensor is called \"attn.") + name));
  }
}

TEST(IgnoredWeightsTest, MustNotBeTheModules) {
  const File file = WhisperFile();
  WeightSource source = kWhisperSource;
  source.renamed = {{"out_proj", "out"}};
  for (const char* name : {"q_proj", "q_proj.weight", "out"}) {
    source.ignored = {name};
    EXPECT_THAT(MessageOf(Whisper(), file.views(), source),
                HasSubstr("ignored weights: tensor \"attn."));
  }
}

TEST(IgnoredWeightsTest, HideNothingElse) {
  File file = WhisperFile();
  file.Add("attn.norms", {4});
  file.Add("attn.norm.weight", {4});
  WeightSource source = kWhisperSource;
  source.ignored = {"norm"};

  EXPECT_THAT(MessageOf(Whisper(), file.views(), source),
              HasSubstr("name \"norms\" in weight_names.ignored"));
}

TEST(WeightSourceTest, RefusesListsWithoutMeasure) {
  const auto message = [](const WeightSource& source) {
    return std::string(ExpectedWeightsIn(Whisper(), source).status().message());
  };
  WeightSource many;
  for (int i = 0; i < 257; ++i) many.ignored.insert(std::to_string(i));
  EXPECT_THAT(message(many), HasSubstr("ignored weights: expected at most 256, "
                                       "got 257"));
  many.zero_biases.swap(many.ignored);
  EXPECT_THAT(message(many), HasSubstr("zero biases: expected at most 256"));
  for (const std::string& name : {std::string(), std::string(1025, 'x')}) {
    EXPECT_THAT(message({.zero_biases = {name}}), HasSubstr("1 to 1024 bytes"));
    EXPECT_THAT(message({.ignored = {name}}), HasSubstr("1 to 1024 bytes"));
  }
}

// transformers' GPT2Attention: Conv1D layers, which are (in, out), q, k and v
// side by side, and buffers that are no weights.
TEST(WeightSourceTest, ReadsGpt2) {
  File file;
  const Tensor& packed = file.Add("h.0.attn.c_attn.weight", {4, 12});
  file.Add("h.0.attn.c_attn.bias", {12});
  const Tensor& output = file.Add("h.0.attn.c_proj.weight", {4, 4});
  file.Add("h.0.attn.c_proj.bias", {4});
  file.Add("h.0.attn.bias", {1, 1, 8, 8});
  file.Add("h.0.attn.masked_bias", {});

  const auto weights = CollectWeights(
      MultiHeadAttentionConfig{.embed_dim = 4, .num_heads = 2}, file.views(),
      {.prefix = "h.0.attn.",
       .renamed = {{"in_proj_weight", "c_attn.weight"},
                   {"in_proj_bias", "c_attn.bias"},
                   {"out_proj", "c_proj"}},
       .transposed = true,
       .ignored = {"bias", "masked_bias"}});

  ASSERT_TRUE(weights.ok()) << weights.status();
  const AttentionWeights& attention = weights->layers[0].attention;
  EXPECT_TRUE(IsIdentical(attention.query.weight.view(),
                          ColumnsTransposed(packed, 0, 4).view()));
  EXPECT_TRUE(IsIdentical(attention.key.weight.view(),
                          ColumnsTransposed(packed, 4, 8).view()));
  EXPECT_TRUE(IsIdentical(attention.value.weight.view(),
                          ColumnsTransposed(packed, 8, 12).view()));
  EXPECT_TRUE(IsIdentical(attention.output.weight.view(),
                          ColumnsTransposed(output, 0, 4).view()));
}

// timm's Attention, with qkv_bias=False.
TEST(WeightSourceTest, ReadsTimm) {
  File file;
  const Tensor& packed = file.Add("blocks.0.attn.qkv.weight", {12, 4});
  file.Add("blocks.0.attn.proj.weight", {4, 4});
  file.Add("blocks.0.attn.proj.bias", {4});

  const auto weights = CollectWeights(
      MultiHeadAttentionConfig{
          .embed_dim = 4, .num_heads = 2, .batch_first = true},
      file.views(),
      {.prefix = "blocks.0.attn.",
       .renamed = {{"in_proj_weight", "qkv.weight"}, {"out_proj", "proj"}},
       .zero_biases = {"in_proj_bias"}});

  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(IsIdentical(
      weights->layers[0].attention.key.weight.view(),
      {packed.view().data + 64, DataType::kFloat32, Shape({4, 4})}));
}

}  // namespace
}  // namespace attention
