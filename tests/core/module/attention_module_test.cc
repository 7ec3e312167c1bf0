// SPDX-License-Identifier: Apache-2.0
#include "core/module/attention_module.h"

#include <gtest/gtest.h>

#include "tests/testing/attention_case.h"

namespace attention {
namespace {

MultiHeadAttentionConfig SmallConfig() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 8;
  config.num_heads = 2;
  return config;
}

absl::StatusOr<std::shared_ptr<const AttentionModule>> MakeModule(
    DataType dtype) {
  return AttentionModule::Create(
      {"m", 3, "digest"}, SmallConfig(),
      testing::MakeWeights(SmallConfig(), dtype, /*seed=*/1));
}

TEST(AttentionModuleTest, KeepsItsIdentityAndConfig) {
  const auto module = MakeModule(DataType::kBFloat16);

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ((*module)->name(), "m");
  EXPECT_EQ((*module)->version(), 3U);
  EXPECT_EQ((*module)->weights_digest(), "digest");
  EXPECT_EQ((*module)->config(), ModuleConfig(SmallConfig()));
  EXPECT_EQ((*module)->weights_dtype(), DataType::kBFloat16);
}

TEST(AttentionModuleTest, ServesSinglePrecisionWithOneDnn) {
  const auto module = MakeModule(DataType::kFloat32);

  ASSERT_TRUE(module.ok()) << module.status();
  const ModuleImplementation& attention =
      (*module)->implementation(DataType::kFloat32);
  EXPECT_NE(attention.name(), "reference");
  EXPECT_EQ(attention.compute_dtype(), DataType::kFloat32);
}

TEST(AttentionModuleTest, ServesDoubleQueriesWithTheReference) {
  const auto module = MakeModule(DataType::kFloat32);

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ((*module)->implementation(DataType::kFloat64).name(), "reference");
}

TEST(AttentionModuleTest, ServesDoubleModulesWithTheReference) {
  const auto module = MakeModule(DataType::kFloat64);

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ((*module)->implementation(DataType::kFloat32).name(), "reference");
}

TEST(AttentionModuleTest, CountsTheMemoryOfItsWeights) {
  const auto module = MakeModule(DataType::kFloat32);

  ASSERT_TRUE(module.ok()) << module.status();
  const std::size_t num_parameters = 4 * 8 * 8 + 4 * 8;
  EXPECT_GE((*module)->memory_bytes(), num_parameters * sizeof(float));
}

TEST(AttentionModuleTest, RefusesAnInvalidConfig) {
  MultiHeadAttentionConfig config = SmallConfig();
  config.num_heads = 3;

  const auto module = AttentionModule::Create({"m", 1, ""}, config, {});

  EXPECT_EQ(module.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attention
