// SPDX-License-Identifier: Apache-2.0
#include "core/attention/config.h"

#include <gtest/gtest.h>

#include <limits>

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
  EXPECT_TRUE(config.packed_in_proj());
  config.kdim = 12;
  EXPECT_TRUE(config.packed_in_proj());
  config.kdim = 5;
  EXPECT_FALSE(config.packed_in_proj());
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

}  // namespace
}  // namespace attention
