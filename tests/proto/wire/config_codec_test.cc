// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/config_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

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
            "dtype": 99}})"));

}  // namespace
}  // namespace attention
