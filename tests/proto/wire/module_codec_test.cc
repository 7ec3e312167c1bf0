// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/module_codec.h"

#include <gtest/gtest.h>

namespace attention {
namespace {

MultiHeadAttentionConfig Config() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 8;
  config.num_heads = 2;
  return config;
}

ModuleDescription Description() {
  ModuleDescription description;
  description.name = "m";
  description.state = ModuleState::kReady;
  description.version = 3;
  description.config = Config();
  description.weights_dtype = DataType::kFloat16;
  description.compute_dtype = DataType::kFloat32;
  description.implementation = "fused";
  description.memory_bytes = 1234;
  description.weights_digest = "abcd";
  description.error = "the last load failed";
  return description;
}

TEST(ModuleCodecTest, KeepsADescription) {
  const ModuleDescription want = Description();

  const ModuleDescription got =
      DecodeModuleDescription(EncodeModuleDescription(want));

  EXPECT_EQ(got.name, want.name);
  EXPECT_EQ(got.state, want.state);
  EXPECT_EQ(got.version, want.version);
  EXPECT_EQ(got.config, want.config);
  EXPECT_EQ(got.weights_dtype, want.weights_dtype);
  EXPECT_EQ(got.compute_dtype, want.compute_dtype);
  EXPECT_EQ(got.implementation, want.implementation);
  EXPECT_EQ(got.memory_bytes, want.memory_bytes);
  EXPECT_EQ(got.weights_digest, want.weights_digest);
  EXPECT_EQ(got.error, want.error);
}

TEST(ModuleCodecTest, LeavesWhatIsAbsentUnset) {
  const ModuleDescription got =
      DecodeModuleDescription(EncodeModuleDescription(ModuleDescription()));

  EXPECT_FALSE(got.config.has_value());
  EXPECT_FALSE(got.weights_dtype.has_value());
  EXPECT_FALSE(got.compute_dtype.has_value());
  EXPECT_TRUE(
      EncodeModuleDescription(ModuleDescription()).SerializeAsString().empty());
}

TEST(ModuleCodecTest, KeepsEveryState) {
  for (const ModuleState state :
       {ModuleState::kUnknown, ModuleState::kAvailable, ModuleState::kLoading,
        ModuleState::kReady, ModuleState::kUnloading, ModuleState::kFailed}) {
    ModuleDescription description;
    description.state = state;
    EXPECT_EQ(
        DecodeModuleDescription(EncodeModuleDescription(description)).state,
        state);
  }
}

TEST(ModuleCodecTest, TakesAStateItDoesNotKnowForUnknown) {
  v1::ModuleInfo message;
  message.set_state(static_cast<v1::ModuleState>(77));

  EXPECT_EQ(DecodeModuleDescription(message).state, ModuleState::kUnknown);
}

TEST(ModuleCodecTest, KeepsTheHeaderOfAnUpload) {
  UploadOptions want;
  want.name = "m";
  want.config = Config();
  want.replace = true;
  want.source.prefix = "encoder.";

  const absl::StatusOr<UploadOptions> got =
      DecodeUploadHeader(EncodeUploadHeader(want));

  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->name, want.name);
  EXPECT_EQ(got->config, want.config);
  EXPECT_TRUE(got->replace);
  EXPECT_FALSE(got->persist);
  EXPECT_EQ(got->source.prefix, want.source.prefix);
}

TEST(ModuleCodecTest, KeepsWhatIsPersistedAndTheNamesOfItsWeights) {
  UploadOptions want;
  want.name = "m";
  want.config = Config();
  want.persist = true;
  want.source.renamed = {{"in", "in_proj"}};
  want.source.ignored = {"dropout"};

  const absl::StatusOr<UploadOptions> got =
      DecodeUploadHeader(EncodeUploadHeader(want));

  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(got->persist);
  EXPECT_FALSE(got->replace);
  EXPECT_EQ(got->source.renamed, want.source.renamed);
  EXPECT_EQ(got->source.ignored, want.source.ignored);
}

TEST(ModuleCodecTest, RefusesAHeaderWithoutAConfig) {
  EXPECT_EQ(DecodeUploadHeader(v1::UploadModuleHeader()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attention
