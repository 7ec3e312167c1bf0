// SPDX-License-Identifier: Apache-2.0
#include "core/attention/config.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "core/attention/module_spec.h"

namespace attention {
namespace {

MultiHeadAttentionConfig Valid() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 12;
  config.num_heads = 3;
  return config;
}

TEST(ConfigTest, AcceptsTorchsDefaults) {
  EXPECT_TRUE(ValidateConfig(Valid()).ok());
}

TEST(ConfigTest, DefaultsWidthsToEmbedDim) {
  MultiHeadAttentionConfig config = Valid();
  EXPECT_EQ(config.key_dim(), 12);
  EXPECT_EQ(config.value_dim(), 12);
}

struct BadConfig {
  const char* message;
  void (*spoil)(MultiHeadAttentionConfig&);
};

TEST(ConfigTest, RefusesWhatTorchRefuses) {
  const BadConfig cases[] = {
      {"embed_dim: expected 1 to 65536, got 0",
       [](MultiHeadAttentionConfig& c) { c.embed_dim = 0; }},
      {"embed_dim: expected 1 to 65536, got -4",
       [](MultiHeadAttentionConfig& c) { c.embed_dim = -4; }},
      {"embed_dim: expected 1 to 65536, got 65537",
       [](MultiHeadAttentionConfig& c) { c.embed_dim = 65537; }},
      {"num_heads: expected at least 1, got 0",
       [](MultiHeadAttentionConfig& c) { c.num_heads = 0; }},
      {"embed_dim must be divisible by num_heads, got embed_dim=12 and "
       "num_heads=5",
       [](MultiHeadAttentionConfig& c) { c.num_heads = 5; }},
      {"kdim: expected 1 to 65536, got 0",
       [](MultiHeadAttentionConfig& c) { c.kdim = 0; }},
      {"vdim: expected 1 to 65536, got -1",
       [](MultiHeadAttentionConfig& c) { c.vdim = -1; }},
      {"dropout: expected a probability in [0, 1], got 1.5",
       [](MultiHeadAttentionConfig& c) { c.dropout = 1.5; }},
      {"dropout: expected a probability in [0, 1], got nan",
       [](MultiHeadAttentionConfig& c) {
         c.dropout = std::numeric_limits<double>::quiet_NaN();
       }},
      {"dtype: expected a floating dtype, got int64",
       [](MultiHeadAttentionConfig& c) { c.dtype = DataType::kInt64; }},
  };
  for (const BadConfig& bad : cases) {
    MultiHeadAttentionConfig config = Valid();
    bad.spoil(config);
    const absl::Status status = ValidateConfig(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), bad.message);
  }
}

TEST(ConfigTest, AStackComputesInItsLayersDtype) {
  ModuleConfig config = TransformerEncoderConfig{
      .layer = TransformerEncoderLayerConfig{.d_model = 8, .nhead = 2},
      .num_layers = 2};
  EXPECT_EQ(ComputeDtype(config), DataType::kFloat32);

  SetComputeDtype(DataType::kBFloat16, config);

  EXPECT_EQ(ComputeDtype(config), DataType::kBFloat16);
  EXPECT_EQ(config,
            ModuleConfig(TransformerEncoderConfig{
                .layer = TransformerEncoderLayerConfig{.d_model = 8,
                                                       .nhead = 2,
                                                       .compute_dtype =
                                                           DataType::kBFloat16},
                .num_layers = 2}));
}

std::vector<ModuleConfig> EveryKind() {
  const TransformerEncoderLayerConfig layer = {.d_model = 8, .nhead = 2};
  const D2lTransformerEncoderBlockConfig block = {
      .num_hiddens = 8, .ffn_num_hiddens = 8, .num_heads = 2};
  return {Valid(),
          D2lMultiHeadAttentionConfig{.num_hiddens = 8, .num_heads = 2},
          ScaledDotProductAttentionConfig{.num_heads = 2, .head_dim = 4},
          layer,
          block,
          TransformerEncoderConfig{.layer = layer, .num_layers = 2},
          TransformerEncoderConfig{.layer = block, .num_layers = 2},
          D2lDotProductAttentionConfig{.query_size = 8}};
}

TEST(ConfigTest, EveryKindComputesInFloat32OrBFloat16) {
  for (ModuleConfig config : EveryKind()) {
    EXPECT_EQ(SpecOf(config).attention.compute_dtype, DataType::kFloat32);
    SetComputeDtype(DataType::kBFloat16, config);
    EXPECT_TRUE(ValidateConfig(config).ok());
    EXPECT_EQ(SpecOf(config).attention.compute_dtype, DataType::kBFloat16);
    for (const DataType dtype :
         {DataType::kFloat64, DataType::kFloat16, DataType::kInt64}) {
      SetComputeDtype(dtype, config);
      EXPECT_EQ(ValidateConfig(config).message(),
                "compute_dtype: expected float32 or bfloat16, got " +
                    std::string(DataTypeName(dtype)));
    }
  }
}

TEST(ConfigTest, Float64ParametersAreNotComputedWithInBFloat16) {
  MultiHeadAttentionConfig config = Valid();
  config.dtype = DataType::kFloat64;
  EXPECT_TRUE(ValidateConfig(config).ok());

  config.compute_dtype = DataType::kBFloat16;

  const absl::Status status = ValidateConfig(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "compute_dtype: expected float32 with float64 weights, got "
            "bfloat16");
}

struct BadKind {
  const char* message;
  ModuleConfig config;
};

TEST(ConfigTest, RefusesWhatTheOtherKindsCannotHave) {
  const TransformerEncoderLayerConfig layer = {.d_model = 8, .nhead = 2};
  const BadKind cases[] = {
      {"query_dim: expected embed_dim=12 without separate_projections, got 5",
       MultiHeadAttentionConfig{
           .embed_dim = 12, .num_heads = 3, .query_dim = 5}},
      {"num_hiddens must be divisible by num_heads, got num_hiddens=8 and "
       "num_heads=3",
       D2lMultiHeadAttentionConfig{.num_hiddens = 8, .num_heads = 3}},
      {"key_size: expected 1 to 65536, got 0",
       D2lMultiHeadAttentionConfig{
           .num_hiddens = 8, .num_heads = 2, .key_size = 0}},
      {"num_heads must be divisible by num_key_value_heads, got num_heads=6 "
       "and "
       "num_key_value_heads=4",
       ScaledDotProductAttentionConfig{
           .num_heads = 6, .num_key_value_heads = 4, .head_dim = 8}},
      {"num_heads * head_dim: expected 1 to 65536, got 131072",
       ScaledDotProductAttentionConfig{.num_heads = 512, .head_dim = 256}},
      {"scale: expected a number of magnitude up to 3.4e+38, got inf",
       ScaledDotProductAttentionConfig{
           .num_heads = 1,
           .head_dim = 8,
           .scale = std::numeric_limits<double>::infinity()}},
      {"query_size: expected 1 to 65536, got 0",
       D2lDotProductAttentionConfig{}},
      {"value_size: expected 1 to 65536, got 65537",
       D2lDotProductAttentionConfig{.query_size = 8, .value_size = 65537}},
      {"dropout: expected a probability in [0, 1], got -0.5",
       D2lDotProductAttentionConfig{.query_size = 8, .dropout = -0.5}},
      {"d_model must be divisible by nhead, got d_model=8 and nhead=3",
       TransformerEncoderLayerConfig{.d_model = 8, .nhead = 3}},
      {"dim_feedforward: expected 1 to 262144, got 0",
       TransformerEncoderLayerConfig{
           .d_model = 8, .nhead = 2, .dim_feedforward = 0}},
      {"layer_norm_eps: expected 0 or a number from 1.18e-38 to 3.4e+38, got "
       "-1",
       TransformerEncoderLayerConfig{
           .d_model = 8, .nhead = 2, .layer_norm_eps = -1.0}},
      {"ffn_num_hiddens: expected 1 to 262144, got 0",
       D2lTransformerEncoderBlockConfig{.num_hiddens = 8, .num_heads = 2}},
      {"num_layers: expected 1 to 1024, got 0",
       TransformerEncoderConfig{.layer = layer, .num_layers = 0}},
  };
  for (const BadKind& bad : cases) {
    const absl::Status status = ValidateConfig(bad.config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), bad.message);
  }
}

}  // namespace
}  // namespace attention
