// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/config_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace attention {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

MultiHeadAttentionConfig EveryField() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 12;
  config.num_heads = 3;
  config.dropout = 0.25;
  config.bias = false;
  config.add_bias_kv = true;
  config.add_zero_attn = true;
  config.kdim = 5;
  config.vdim = 7;
  config.batch_first = true;
  config.dtype = DataType::kBFloat16;
  return config;
}

TEST(ConfigCodecTest, DecodesWhatItEncoded) {
  const ModuleConfig config = EveryField();

  EXPECT_EQ(DecodeModuleConfig(EncodeModuleConfig(config)).value(), config);
}

TEST(ConfigCodecTest, ReadsTheJsonItWrote) {
  const ModuleConfig config = EveryField();

  EXPECT_EQ(ParseModuleConfigJson(ModuleConfigToJson(config)).value(), config);
}

// Every kind, every field another than its default.
std::vector<ModuleConfig> EveryKind() {
  MultiHeadAttentionConfig heads = EveryField();
  heads.query_dim = 9;
  heads.output_projection = false;
  heads.separate_projections = true;
  const TransformerEncoderLayerConfig layer = {.d_model = 12,
                                               .nhead = 3,
                                               .dim_feedforward = 20,
                                               .dropout = 0.25,
                                               .activation = Activation::kGelu,
                                               .layer_norm_eps = 1e-3,
                                               .batch_first = true,
                                               .norm_first = true,
                                               .bias = false,
                                               .dtype = DataType::kFloat16,
                                               .separate_projections = true};
  const D2lTransformerEncoderBlockConfig block = {.num_hiddens = 12,
                                                  .ffn_num_hiddens = 20,
                                                  .num_heads = 3,
                                                  .dropout = 0.25,
                                                  .use_bias = true,
                                                  .dtype = DataType::kFloat32};
  return {heads,
          D2lMultiHeadAttentionConfig{.num_hiddens = 12,
                                      .num_heads = 3,
                                      .dropout = 0.25,
                                      .bias = true,
                                      .query_size = 4,
                                      .key_size = 5,
                                      .value_size = 6,
                                      .dtype = DataType::kFloat16},
          ScaledDotProductAttentionConfig{.num_heads = 6,
                                          .num_key_value_heads = 2,
                                          .head_dim = 4,
                                          .value_head_dim = 5,
                                          .scale = -0.5,
                                          .dropout = 0.25},
          layer,
          block,
          TransformerEncoderConfig{
              .layer = layer, .num_layers = 2, .norm = true, .norm_eps = 1e-4},
          TransformerEncoderConfig{.layer = block, .num_layers = 3},
          D2lDotProductAttentionConfig{
              .query_size = 4, .value_size = 5, .dropout = 0.25}};
}

TEST(ConfigCodecTest, KeepsEveryFieldOfEveryKind) {
  for (const ModuleConfig& config : EveryKind()) {
    const std::string json = ModuleConfigToJson(config);
    EXPECT_EQ(ParseModuleConfigJson(json).value(), config) << json;
  }
}

TEST(ConfigCodecTest, KeepsWhatToComputeIn) {
  for (ModuleConfig config : EveryKind()) {
    EXPECT_EQ(EncodeModuleConfig(config).compute_dtype(),
              v1::COMPUTE_DTYPE_UNSPECIFIED);
    SetComputeDtype(DataType::kBFloat16, config);
    const v1::ModuleConfig message = EncodeModuleConfig(config);
    const std::string json = ModuleConfigToJson(config);

    EXPECT_EQ(message.compute_dtype(), v1::COMPUTE_DTYPE_BFLOAT16);
    EXPECT_EQ(DecodeModuleConfig(message).value(), config);
    EXPECT_THAT(json, HasSubstr(R"("compute_dtype":"COMPUTE_DTYPE_BFLOAT16")"));
    EXPECT_EQ(ParseModuleConfigJson(json).value(), config);
  }
}

TEST(ConfigCodecTest, ComputesInFloat32ByDefault) {
  v1::ModuleConfig message = EncodeModuleConfig(EveryField());
  message.set_compute_dtype(v1::COMPUTE_DTYPE_FLOAT32);

  EXPECT_EQ(DecodeModuleConfig(message).value(), ModuleConfig(EveryField()));
}

TEST(ConfigCodecTest, RefusesAnUnknownComputeDtype) {
  v1::ModuleConfig message = EncodeModuleConfig(EveryField());
  message.set_compute_dtype(static_cast<v1::ComputeDtype>(3));

  const absl::Status status = DecodeModuleConfig(message).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "compute_dtype is 3, expected a known value of ComputeDtype");
}

TEST(ConfigCodecTest, AppliesTheDefaultsOfALayer) {
  const TransformerEncoderLayerConfig want = {.d_model = 8, .nhead = 2};

  EXPECT_EQ(ParseModuleConfigJson(
                R"({"transformer_encoder_layer": {"d_model": 8, "nhead": 2}})")
                .value(),
            ModuleConfig(want));
}

TEST(ConfigCodecTest, RefusesAStackWithoutLayerAndAnUnknownActivation) {
  EXPECT_THAT(
      ParseModuleConfigJson(R"({"transformer_encoder": {"num_layers": 2}})")
          .status()
          .message(),
      HasSubstr("transformer_encoder has no layer"));
  v1::ModuleConfig message = EncodeModuleConfig(
      TransformerEncoderLayerConfig{.d_model = 8, .nhead = 2});
  message.mutable_transformer_encoder_layer()->set_activation(
      static_cast<v1::Activation>(9));
  EXPECT_THAT(DecodeModuleConfig(message).status().message(),
              HasSubstr("activation is 9"));
}

TEST(ConfigCodecTest, KeepsWhereTheWeightsAre) {
  const WeightSource source = {.prefix = "a.",
                               .renamed = {{"linear1", "ffn.0"}},
                               .transposed = true,
                               .zero_biases = {"in_proj_bias", "out_proj.bias"},
                               .ignored = {"masked_bias", "norm1"}};

  const WeightSource again =
      DecodeWeightSource(source.prefix, EncodeWeightNames(source));

  EXPECT_EQ(again.prefix, source.prefix);
  EXPECT_EQ(again.renamed, source.renamed);
  EXPECT_EQ(again.transposed, source.transposed);
  EXPECT_EQ(again.zero_biases, source.zero_biases);
  EXPECT_EQ(again.ignored, source.ignored);
}

TEST(ConfigCodecTest, WritesSnakeCase) {
  const std::string json = ModuleConfigToJson(EveryField());

  EXPECT_THAT(json, HasSubstr("\"embed_dim\""));
  EXPECT_THAT(json, Not(HasSubstr("embedDim")));
}

TEST(ConfigCodecTest, AppliesDefaults) {
  MultiHeadAttentionConfig want;
  want.embed_dim = 4;
  want.num_heads = 2;

  const absl::StatusOr<ModuleConfig> config = ParseModuleConfigJson(
      R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2}})");

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, ModuleConfig(want));
}

class BadConfigTest : public ::testing::TestWithParam<std::string> {};

TEST_P(BadConfigTest, IsRefused) {
  EXPECT_EQ(ParseModuleConfigJson(GetParam()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadConfigTest,
    ::testing::Values(
        "", "{", "[]", "{}", R"({"unknown": 1})",
        R"({"multi_head_attention": {}})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 3}})",
        R"({"multi_head_attention": {"embed_dim": -4, "num_heads": 2}})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2, "x": 1}})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2,
            "dropout": "NaN"}})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2,
            "dtype": "DATA_TYPE_BOOL"}})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2,
            "dtype": 99}})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2},
            "compute_dtype": 99})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2},
            "compute_dtype": "COMPUTE_DTYPE_FLOAT16"})",
        R"({"multi_head_attention": {"embed_dim": 4, "num_heads": 2,
            "dtype": "DATA_TYPE_FLOAT64"},
            "compute_dtype": "COMPUTE_DTYPE_BFLOAT16"})"));

}  // namespace
}  // namespace attention
