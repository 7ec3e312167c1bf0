// SPDX-License-Identifier: Apache-2.0
// Modules whose weights are in the shards of a model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <format>
#include <string>

#include "tests/server/repository/module_files.h"

namespace attention {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr std::string_view kIndexFile = "model.safetensors.index.json";

std::string FileOf(const NamedTensors& tensors) {
  return SerializeSafetensors(tensors).value().ToString();
}

// A model of two modules, layers.0. and layers.1., the first in two shards.
class ShardedRepositoryTest : public ::testing::Test {
 protected:
  ShardedRepositoryTest() {
    NamedTensors first;
    NamedTensors second;
    for (const auto& [name, tensor] : tensors_.views("layers.0.")) {
      (first.empty() ? first : second).emplace(name, tensor);
      Place(name, first.size() == 1 && second.empty() ? "1" : "2");
    }
    for (const auto& [name, tensor] : tensors_.views("layers.1.")) {
      Place(name, "3");
    }
    Write("1.safetensors", FileOf(first));
    Write("2.safetensors", FileOf(second));
    Write("3.safetensors", FileOf(tensors_.views("layers.1.")));
  }

  void Place(const std::string& tensor, const std::string& shard) {
    weight_map_ += std::format(R"({}"{}": "{}.safetensors")",
                               weight_map_.empty() ? "" : ", ", tensor, shard);
  }
  void Write(const std::string& name, std::string_view content) const {
    directory_.Write("m/model/" + name, content);
  }
  [[nodiscard]] absl::StatusOr<StoredModule> Load(
      const std::string& prefix = "layers.0.",
      std::size_t max_bytes = std::size_t{1} << 20) const {
    Write(std::string(kIndexFile),
          std::format(R"({{"metadata": {{}}, "weight_map": {{{}}}}})",
                      weight_map_));
    directory_.Write(
        "m/config.json",
        ConfigJsonWith(
            std::format(R"("weights_file": "model/{}", "weights_prefix": "{}")",
                        kIndexFile, prefix)));
    return OpenRepository(directory_, max_bytes)->Load("m");
  }
  void ExpectRefused(const std::string& text) const {
    const absl::Status status = Load().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }

  const TemporaryDirectory directory_;
  const ModuleTensors tensors_{SmallConfig()};
  std::string weight_map_;
};

TEST_F(ShardedRepositoryTest, ReadsAModuleFromSeveralShards) {
  directory_.Write("whole.safetensors", OneFileForm());

  const auto module = Load();

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->weights_digest,
            OpenRepository(directory_)->Load("whole").value().weights_digest);
}

TEST_F(ShardedRepositoryTest, ReadsOnlyTheShardsOfTheModule) {
  Write("3.safetensors", "broken");

  EXPECT_TRUE(Load().ok());
  EXPECT_THAT(std::string(Load("layers.1.").status().message()),
              HasSubstr("'3.safetensors': safetensors file"));
}

TEST_F(ShardedRepositoryTest, BoundsItsShardsTogether) {
  const auto size = [this](const char* shard) {
    return std::filesystem::file_size(directory_.path() / "m/model" / shard);
  };
  const std::size_t both = size("1.safetensors") + size("2.safetensors");

  EXPECT_TRUE(Load("layers.0.", both).ok());
  const absl::Status status = Load("layers.0.", both - 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), EndsWith("(--max-module-bytes)"));
}

TEST_F(ShardedRepositoryTest, FollowsTheLinksOfAHubsCache) {
  for (const char* shard : {"1", "2"}) {
    const auto path =
        directory_.path() / "m/model" / (std::string(shard) + ".safetensors");
    std::filesystem::create_directories(directory_.path() / "blobs");
    std::filesystem::rename(path, directory_.path() / "blobs" / shard);
    std::filesystem::create_symlink(
        std::filesystem::path("../../blobs") / shard, path);
  }

  EXPECT_TRUE(Load().ok());
}

TEST_F(ShardedRepositoryTest, ConfinesItsShards) {
  directory_.Write("m/4.safetensors", FileOf(tensors_.views("layers.0.")));
  for (const char* shard : {"../4", "/etc/passwd", "./2", "x/../2"}) {
    weight_map_.clear();
    Place("layers.0.in_proj_weight", shard);

    ExpectRefused("expected a relative path");
  }
}

TEST_F(ShardedRepositoryTest, RefusesAShardThatIsALinkOut) {
  const TemporaryDirectory outside;
  outside.Write("w", FileOf(tensors_.views("layers.0.")));
  std::filesystem::remove(directory_.path() / "m/model/2.safetensors");
  std::filesystem::create_symlink(outside.path() / "w",
                                  directory_.path() / "m/model/2.safetensors");

  ExpectRefused("leads out of the module repository");
}

TEST_F(ShardedRepositoryTest, NamesAMissingShard) {
  std::filesystem::remove(directory_.path() / "m/model/2.safetensors");

  ExpectRefused("'2.safetensors': cannot open");
}

TEST_F(ShardedRepositoryTest, RefusesAnIndexThatDisagreesWithItsShards) {
  Place("layers.0.more", "2");

  ExpectRefused("'2.safetensors' has no tensor 'layers.0.more'");
}

TEST_F(ShardedRepositoryTest, RefusesATensorInTwoShards) {
  Write("2.safetensors", FileOf(tensors_.views("layers.0.")));

  ExpectRefused("in two files");
}

TEST_F(ShardedRepositoryTest, NamesAnIndexThatIsNone) {
  weight_map_ = "\"a\": 1";

  ExpectRefused("index.json': safetensors index: ");
}

TEST_F(ShardedRepositoryTest, NamesAnIndexInThePlaceOfWeights) {
  directory_.Write("m/config.json", kConfigJson);
  directory_.Write("m/model.safetensors",
                   R"({"metadata": {}, "weight_map": {"a": "b"}})");

  const absl::Status status = OpenRepository(directory_)->Load("m").status();

  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the index of a sharded model"));
}

}  // namespace
}  // namespace attention
