// SPDX-License-Identifier: Apache-2.0
#include "server/weights/stored_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "core/safetensors/safetensors_writer.h"
#include "tests/server/repository/module_tensors.h"

namespace attention {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string FileOf(const NamedTensors& tensors) {
  return SerializeSafetensors(tensors).value().ToString();
}

/// Take a byte tensor for a foreign one: BOOL and I8 have one size.
std::string WithForeignDtype(std::string file) {
  return file.replace(file.find("\"BOOL\""), 6, "\"I8\"  ");
}

TEST(ReadModuleTest, CopiesTheWeights) {
  const ModuleTensors tensors(SmallConfig(), DataType::kFloat16);
  const std::string file = FileOf(tensors.views());

  const auto module =
      ReadModule(SafetensorsView::Parse(AsBytes(file)).value(), SmallConfig());

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->config, ModuleConfig(SmallConfig()));
  EXPECT_EQ(module->weights.dtype, DataType::kFloat16);
  EXPECT_EQ(module->weights_digest.size(), 64U);
}

TEST(ReadModuleTest, ReadsOneModuleOfAWholeModelsFile) {
  const ModuleTensors tensors(SmallConfig());
  NamedTensors model = tensors.views("layer.0.");
  const Tensor quantized(DataType::kBool, {0});
  model.emplace("embedding", quantized.view());
  const std::string file = WithForeignDtype(FileOf(model));

  const auto module = ReadModule(SafetensorsView::Parse(AsBytes(file)).value(),
                                 SmallConfig(), {.prefix = "layer.0."});

  EXPECT_TRUE(module.ok()) << module.status();
}

TEST(ReadModuleTest, NamesAForeignDtypeOfAWeight) {
  const ModuleTensors tensors(SmallConfig());
  NamedTensors model = tensors.views("layer.0.");
  const Tensor quantized(DataType::kBool, {0});
  model["layer.0.out_proj.bias"] = quantized.view();
  const std::string file = WithForeignDtype(FileOf(model));

  const auto module = ReadModule(SafetensorsView::Parse(AsBytes(file)).value(),
                                 SmallConfig(), {.prefix = "layer.0."});

  EXPECT_EQ(module.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(module.status().message()),
              HasSubstr("'layer.0.out_proj.bias' has dtype I8"));
}

TEST(ReadModuleTest, IgnoresAForeignDtypeByName) {
  const ModuleTensors tensors(SmallConfig());
  NamedTensors model = tensors.views("layer.0.");
  const Tensor mask(DataType::kBool, {0});
  model.emplace("layer.0.bias", mask.view());
  const std::string file = WithForeignDtype(FileOf(model));
  const SafetensorsView view = SafetensorsView::Parse(AsBytes(file)).value();

  const auto refused = ReadModule(view, SmallConfig(), {.prefix = "layer.0."});
  const auto module = ReadModule(view, SmallConfig(),
                                 {.prefix = "layer.0.", .ignored = {"bias"}});

  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("weight_names.ignored"));
  EXPECT_TRUE(module.ok()) << module.status();
}

TEST(ReadModuleTest, GivesZeroBiasesTheDigestOfWrittenZeros) {
  const ModuleTensors tensors(SmallConfig(), DataType::kBFloat16);
  NamedTensors named = tensors.views();
  Tensor zeros(DataType::kBFloat16, {12});
  std::memset(zeros.mutable_view().data, 0, zeros.num_bytes());
  named["in_proj_bias"] = zeros.view();
  const std::string written = FileOf(named);
  named.erase("in_proj_bias");
  const std::string without = FileOf(named);

  const auto module =
      ReadModule(SafetensorsView::Parse(AsBytes(without)).value(),
                 SmallConfig(), {.zero_biases = {"in_proj_bias"}});

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->weights_digest,
            ReadModule(SafetensorsView::Parse(AsBytes(written)).value(),
                       SmallConfig())
                .value()
                .weights_digest);
}

TEST(ReadModuleTest, RefusesAnyForeignDtypeWithoutPrefix) {
  const ModuleTensors tensors(SmallConfig());
  NamedTensors model = tensors.views();
  const Tensor quantized(DataType::kBool, {0});
  model.emplace("extra", quantized.view());
  const std::string file = WithForeignDtype(FileOf(model));

  const auto module =
      ReadModule(SafetensorsView::Parse(AsBytes(file)).value(), SmallConfig());

  EXPECT_THAT(std::string(module.status().message()),
              HasSubstr("'extra' has dtype I8"));
}

}  // namespace
}  // namespace attention
