// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "client/cpp/attention_client.h"
#include "core/safetensors/safetensors.h"
#include "core/tensor/random_tensor.h"
#include "tests/client/fake_server.h"

namespace attention {
namespace {

using testing::ElementsAre;

constexpr std::size_t kMebibyte = std::size_t{1024} * 1024;

UploadOptions MakeOptions() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 8;
  config.num_heads = 2;
  return {.name = "block",
          .config = config,
          .replace = true,
          .persist = true,
          .source = {.prefix = "layer.",
                     .renamed = {{"out_proj", "out"}},
                     .transposed = true}};
}

std::string MakeBytes(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<char>(i * 31 % 251);
  }
  return bytes;
}

class ModuleUploadTest : public testing::Test {
 protected:
  FakeServer server_;
  AttentionClient client_ = server_.MakeClient();
};

TEST_F(ModuleUploadTest, SendsOptionsInTheHeader) {
  ASSERT_TRUE(
      client_.UploadModule(MakeOptions(), std::as_bytes(std::span("abc")))
          .ok());

  const v1::UploadModuleHeader header = server_.modules.last_upload().header;
  EXPECT_EQ(header.name(), "block");
  EXPECT_EQ(header.config().multi_head_attention().num_heads(), 2);
  EXPECT_TRUE(header.replace());
  EXPECT_TRUE(header.persist());
  EXPECT_EQ(header.weights_prefix(), "layer.");
  EXPECT_EQ(header.weight_names().renamed().at("out_proj"), "out");
  EXPECT_TRUE(header.weight_names().transposed());
}

TEST_F(ModuleUploadTest, SendsBytesInChunksOfOneMebibyte) {
  const std::string bytes = MakeBytes(2 * kMebibyte + 5);

  const auto module =
      client_.UploadModule(MakeOptions(), std::as_bytes(std::span(bytes)));

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->version, 3U);
  EXPECT_THAT(server_.modules.last_upload().chunk_sizes,
              ElementsAre(kMebibyte, kMebibyte, 5U));
  EXPECT_TRUE(server_.modules.last_upload().bytes == bytes);
}

TEST_F(ModuleUploadTest, SendsFileInChunks) {
  const std::string bytes = MakeBytes(kMebibyte + 7);
  const std::filesystem::path path =
      testing::TempDir() + "module_upload_test.safetensors";
  std::ofstream(path, std::ios::binary) << bytes;

  const auto module = client_.UploadModuleFile(MakeOptions(), path);

  std::filesystem::remove(path);
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_THAT(server_.modules.last_upload().chunk_sizes,
              ElementsAre(kMebibyte, 7U));
  EXPECT_TRUE(server_.modules.last_upload().bytes == bytes);
}

TEST_F(ModuleUploadTest, CancelsUploadOfUnreadableFile) {
  const auto module =
      client_.UploadModuleFile(MakeOptions(), testing::TempDir());

  EXPECT_EQ(module.status().code(), absl::StatusCode::kDataLoss);
  server_.Stop();
  EXPECT_FALSE(server_.modules.last_upload().was_completed);
}

TEST_F(ModuleUploadTest, ReportsMissingFile) {
  const auto module =
      client_.UploadModuleFile(MakeOptions(), "/nonexistent/file");

  EXPECT_EQ(module.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModuleUploadTest, WritesTensorsAsSafetensors) {
  const Tensor weight =
      RandomTensor(DataType::kFloat32, Shape{4, 4}, /*seed=*/5);
  const Tensor empty(DataType::kFloat32, Shape{0});

  const auto module = client_.UploadModule(
      MakeOptions(),
      NamedTensors{{"empty", empty.view()}, {"weight", weight.view()}});

  ASSERT_TRUE(module.ok()) << module.status();
  const FakeUpload upload = server_.modules.last_upload();
  const auto file =
      SafetensorsView::Parse(std::as_bytes(std::span(upload.bytes)));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 2U);
  EXPECT_EQ(std::memcmp(file->tensors().at("weight").data, weight.view().data,
                        weight.num_bytes()),
            0);
}

TEST_F(ModuleUploadTest, ReportsWhyTheServerStoppedReading) {
  server_.modules.max_upload_bytes = 1;
  const std::string bytes = MakeBytes(8 * kMebibyte);

  const auto module =
      client_.UploadModule(MakeOptions(), std::as_bytes(std::span(bytes)));

  EXPECT_EQ(module.status(),
            absl::ResourceExhaustedError("the module is too large"));
}

}  // namespace
}  // namespace attention
