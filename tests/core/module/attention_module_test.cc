// SPDX-License-Identifier: Apache-2.0
#include "core/module/attention_module.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor/random_tensor.h"
#include "tests/testing/allocation_counter.h"
#include "tests/testing/attention_case.h"
#include "tests/testing/tensor_compare.h"

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

TEST(AttentionModuleTest, ServesSinglePrecisionWithPackedLayers) {
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

struct MemoryCase {
  ModuleConfig config;
  DataType stored;   // dtype of the weights
  DataType compute;  // as is asked for; float32 where the machine lacks it
  PathChoice path;
};

// Two kinds of module with some MiB of weights, in every dtype on every path.
std::vector<MemoryCase> MemoryCases() {
  const MultiHeadAttentionConfig attention = {.embed_dim = 1024,
                                              .num_heads = 16};
  const TransformerEncoderLayerConfig encoder = {
      .d_model = 512, .nhead = 8, .dim_feedforward = 1536};
  std::vector<MemoryCase> cases;
  for (const ModuleConfig& config :
       {ModuleConfig(attention), ModuleConfig(encoder)}) {
    for (const DataType stored :
         {DataType::kFloat32, DataType::kBFloat16, DataType::kFloat16}) {
      for (const DataType compute : {DataType::kFloat32, DataType::kBFloat16}) {
        for (const PathChoice path :
             {PathChoice::kAuto, PathChoice::kPrimitives}) {
          cases.push_back({config, stored, compute, path});
          SetComputeDtype(compute, cases.back().config);
        }
      }
    }
  }
  return cases;
}

std::int64_t NumParameters(const ModuleConfig& config) {
  std::int64_t count = 0;
  for (const WeightSpec& weight : ExpectedWeights(config)) {
    count += weight.shape.num_elements();
  }
  return count;
}

// By its own count, and by what the process has not given back.
TEST(AttentionModuleTest, TakesLittleMoreMemoryThanItsWeights) {
  constexpr std::size_t kBesides = std::size_t{1} << 20U;
  for (const MemoryCase& memory : MemoryCases()) {
    SCOPED_TRACE(::testing::Message()
                 << "kind " << memory.config.index() << ", stored as "
                 << DataTypeName(memory.stored) << ", computed in "
                 << DataTypeName(memory.compute) << ", path "
                 << static_cast<int>(memory.path));
    const std::size_t before = testing::AllocationCounter::Current();
    const auto module = AttentionModule::Create(
        {"m", 1, ""}, memory.config,
        testing::MakeWeights(memory.config, memory.stored, /*seed=*/1),
        memory.path);
    const std::size_t held = testing::AllocationCounter::Current() - before;
    ASSERT_TRUE(module.ok()) << module.status();
    const std::size_t needed =
        static_cast<std::size_t>(NumParameters(memory.config)) *
        DataTypeSize(
            (*module)->implementation(DataType::kFloat32).compute_dtype());
    EXPECT_LE(held, needed * 11 / 10 + kBesides);
    EXPECT_GE(held, needed);
    EXPECT_LE((*module)->memory_bytes(), needed * 11 / 10 + kBesides);
    EXPECT_GE((*module)->memory_bytes(), needed);
  }
}

// They are computed from the weights as they are packed.
TEST(AttentionModuleTest, AnswersDoubleQueriesFromThePackedWeightsExactly) {
  MultiHeadAttentionConfig config;
  config.embed_dim = 33;
  config.num_heads = 3;
  config.kdim = 17;
  config.add_bias_kv = true;
  const Tensor query = RandomTensor(DataType::kFloat64, {5, 2, 33}, /*seed=*/2);
  const Tensor key = RandomTensor(DataType::kFloat64, {7, 2, 17}, /*seed=*/3);
  const Tensor value = RandomTensor(DataType::kFloat64, {7, 2, 33}, /*seed=*/4);
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.key = key.view();
  inputs.value = value.view();
  ComputePool pool(1);
  for (const DataType dtype :
       {DataType::kFloat32, DataType::kBFloat16, DataType::kFloat16}) {
    const auto weights = [&] { return testing::MakeWeights(config, dtype, 5); };
    const auto want =
        testing::Compute(*testing::ReferenceKind().make(config, weights()),
                         config, inputs, pool);
    for (const PathChoice path : {PathChoice::kAuto, PathChoice::kPrimitives}) {
      const auto module =
          AttentionModule::Create({"m", 1, ""}, config, weights(), path);
      ASSERT_TRUE(module.ok()) << module.status();
      const auto got = testing::Compute(
          (*module)->implementation(DataType::kFloat64), config, inputs, pool);
      EXPECT_TRUE(testing::IsIdentical(got.output.view(), want.output.view()));
      EXPECT_TRUE(
          testing::IsIdentical(got.weights->view(), want.weights->view()));
    }
  }
}

TEST(AttentionModuleTest, AnswersDoubleQueriesFromAStackOfPackedLayers) {
  TransformerEncoderLayerConfig layer;
  layer.d_model = 24;
  layer.nhead = 3;
  layer.dim_feedforward = 40;
  TransformerEncoderConfig config;
  config.layer = layer;
  config.num_layers = 2;
  config.norm = true;
  const Tensor query = RandomTensor(DataType::kFloat64, {5, 2, 24}, /*seed=*/2);
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.need_weights = false;
  ComputePool pool(1);
  const auto weights = [&] {
    return testing::MakeWeights(config, DataType::kFloat32, 5);
  };
  const auto want = testing::Compute(
      *testing::ReferenceKind().make(config, weights()), config, inputs, pool);
  for (const PathChoice path : {PathChoice::kAuto, PathChoice::kPrimitives}) {
    const auto module =
        AttentionModule::Create({"m", 1, ""}, config, weights(), path);
    ASSERT_TRUE(module.ok()) << module.status();
    const auto got = testing::Compute(
        (*module)->implementation(DataType::kFloat64), config, inputs, pool);
    EXPECT_TRUE(testing::IsIdentical(got.output.view(), want.output.view()));
  }
}

TEST(AttentionModuleTest, IsComputedOnThePathThatIsChosen) {
  const auto name_on = [](PathChoice path) {
    return std::string(
        (*AttentionModule::Create(
             {"m", 1, ""}, SmallConfig(),
             testing::MakeWeights(SmallConfig(), DataType::kFloat32, 1), path))
            ->implementation(DataType::kFloat32)
            .name());
  };
  EXPECT_EQ(name_on(PathChoice::kPrimitives), "primitives");
  EXPECT_EQ(name_on(PathChoice::kAuto),
            BestComputePath(DataType::kFloat32).name());
}

TEST(AttentionModuleTest, RefusesAnInvalidConfig) {
  MultiHeadAttentionConfig config = SmallConfig();
  config.num_heads = 3;

  const auto module = AttentionModule::Create({"m", 1, ""}, config, {});

  EXPECT_EQ(module.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attention
