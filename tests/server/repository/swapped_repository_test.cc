// SPDX-License-Identifier: Apache-2.0
// Symbolic links that change while a module is loaded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <format>
#include <set>
#include <span>
#include <string>
#include <thread>

#include "tests/server/repository/module_files.h"

namespace attention {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SwappedRepositoryTest : public ::testing::Test {
 protected:
  void Link(const fs::path& target, const std::string& name) const {
    fs::create_symlink(target, directory_.path() / name);
  }

  const TemporaryDirectory directory_;
  const TemporaryDirectory outside_;
};

// Swaps a link for a new folder again and again, as the kubelet does, while it
// lives.
class Swapper {
 public:
  template <typename Make>
  Swapper(const fs::path& volume, Make make) {
    Swap(volume, make, 0);
    thread_ = std::jthread([this, volume, make](const std::stop_token& stop) {
      for (int i = 1; !stop.stop_requested(); ++i) {
        Swap(volume, make, i);
        ++num_swaps;
      }
    });
  }

  std::atomic<int> num_swaps{0};

 private:
  template <typename Make>
  static void Swap(const fs::path& volume, Make make, int i) {
    const std::string generation = std::format("..{}", i);
    make(generation, i);
    fs::create_symlink(generation, volume / "..tmp");
    fs::rename(volume / "..tmp", volume / "..data");
    if (i > 0) fs::remove_all(volume / std::format("..{}", i - 1));
  }

  std::jthread thread_;
};

// Enough for whatever happens now and then to happen.
constexpr int kMaxLoads = 20'000;

// Loads a module while its files are swapped.
template <typename IsOneGeneration>
void LoadWhileSwapped(const TemporaryDirectory& directory,
                      const Swapper& swapper,
                      IsOneGeneration is_one_generation) {
  const auto repository = OpenRepository(directory);
  int num_loaded = 0;
  const auto is_enough = [&] {
    return num_loaded > 0 && swapper.num_swaps >= 50;
  };
  for (int i = 0; i < 200 || (!is_enough() && i < kMaxLoads); ++i) {
    const auto module = repository->Load("m");
    if (!module.ok()) {
      ASSERT_EQ(module.status().code(), absl::StatusCode::kAborted)
          << module.status();
      continue;
    }
    ++num_loaded;
    ASSERT_TRUE(is_one_generation(*module));
  }
  EXPECT_GT(num_loaded, 0);
  EXPECT_GE(swapper.num_swaps, 50);
}

// The same, of a module whose dropout says by what seed its weights are made.
void ExpectOneGeneration(const TemporaryDirectory& directory,
                         const Swapper& swapper) {
  LoadWhileSwapped(directory, swapper, [](const StoredModule& module) {
    const auto& config = std::get<MultiHeadAttentionConfig>(module.config);
    const auto seed = static_cast<std::uint64_t>(config.dropout * 4);
    const ModuleTensors tensors(SmallConfig(), DataType::kFloat32, seed);
    const TensorView expected = tensors.views().at("out_proj.weight");
    const Tensor& weight = module.weights.layers[0].attention.output.weight;
    return std::ranges::equal(std::span(weight.view().data, weight.num_bytes()),
                              std::span(expected.data, expected.num_bytes()));
  });
}

std::string ConfigOfGeneration(int i) {
  return std::format(
      R"({{"config": {{"multi_head_attention": {{"embed_dim": 4, )"
      R"("num_heads": 2, "dropout": {}}}}}}})",
      0.25 * (i % 4));
}

TEST_F(SwappedRepositoryTest, LoadsOneGenerationOfAVolume) {
  std::filesystem::create_directory(directory_.path() / "m");
  Link("..data/config.json", "m/config.json");
  Link("..data/model.safetensors", "m/model.safetensors");
  const Swapper swapper(
      directory_.path() / "m", [this](const std::string& generation, int i) {
        directory_.Write("m/" + generation + "/config.json",
                         ConfigOfGeneration(i));
        directory_.Write(
            "m/" + generation + "/model.safetensors",
            WeightsFile("", {}, static_cast<std::uint64_t>(i % 4)));
      });

  ExpectOneGeneration(directory_, swapper);
}

TEST_F(SwappedRepositoryTest, LoadsOneGenerationOfAFolderOfAVolume) {
  Link("..data/m", "m");
  const Swapper swapper(directory_.path(), [this](const std::string& generation,
                                                  int i) {
    directory_.Write(generation + "/m/config.json", ConfigOfGeneration(i));
    directory_.Write(generation + "/m/model.safetensors",
                     WeightsFile("", {}, static_cast<std::uint64_t>(i % 4)));
  });

  ExpectOneGeneration(directory_, swapper);
}

TEST_F(SwappedRepositoryTest, LoadsOneGenerationOfAFileOfAVolume) {
  Link("..data/m.safetensors", "m.safetensors");
  const Swapper swapper(directory_.path(), [this](const std::string& generation,
                                                  int i) {
    MultiHeadAttentionConfig config = SmallConfig();
    config.dropout = 0.25 * (i % 4);
    directory_.Write(generation + "/m.safetensors",
                     WeightsFile("", {{"config", ModuleConfigToJson(config)}},
                                 static_cast<std::uint64_t>(i % 4)));
  });

  ExpectOneGeneration(directory_, swapper);
}

// A config that stays where it is, and shards that do not.
TEST_F(SwappedRepositoryTest, LoadsOneGenerationOfShardsBesideAConfig) {
  directory_.Write("m/config.json",
                   ConfigJsonWith(R"("weights_file": "weights/..data/)"
                                  R"(model.safetensors.index.json")"));
  std::set<std::string> digests;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    directory_.Write(
        "whole.safetensors",
        WeightsFile("", {{"config", ModuleConfigToJson(SmallConfig())}}, seed));
    digests.insert(
        OpenRepository(directory_)->Load("whole").value().weights_digest);
  }
  const Swapper swapper(
      directory_.path() / "m/weights",
      [this](const std::string& generation, int i) {
        const std::string folder = "m/weights/" + generation;
        const ModuleTensors tensors(SmallConfig(), DataType::kFloat32,
                                    static_cast<std::uint64_t>(i % 4));
        std::string weight_map;
        for (const auto& [name, tensor] : tensors.views()) {
          const std::string shard = name + ".safetensors";
          weight_map += std::format(
              R"({}"{}": "{}")", weight_map.empty() ? "" : ", ", name, shard);
          directory_.Write(
              folder + "/" + shard,
              SerializeSafetensors({{name, tensor}}).value().ToString());
        }
        directory_.Write(
            folder + "/model.safetensors.index.json",
            std::format(R"({{"weight_map": {{{}}}}})", weight_map));
      });

  LoadWhileSwapped(directory_, swapper, [&](const StoredModule& module) {
    return digests.contains(module.weights_digest);
  });
}

// A name that is a file one moment and a link out the next.
TEST_F(SwappedRepositoryTest, NeverReadsWhatALinkWasSwappedFor) {
  outside_.Write("secret", WeightsFile("", {{"config", "secret"}}));
  directory_.Write("good", OneFileForm());
  Link("good", "m.safetensors");
  const auto repository = OpenRepository(directory_);
  const std::jthread swapping([this](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      Link(i % 2 == 0 ? outside_.path() / "secret" : fs::path("good"), "next");
      fs::rename(directory_.path() / "next",
                 directory_.path() / "m.safetensors");
    }
  });

  int num_loaded = 0;
  int num_refused = 0;
  const auto is_enough = [&] { return num_loaded > 0 && num_refused > 0; };
  for (int i = 0; i < 1000 || (!is_enough() && i < kMaxLoads); ++i) {
    const absl::Status status = repository->Load("m").status();
    ++(status.ok() ? num_loaded : num_refused);
    if (status.ok()) continue;
    ASSERT_THAT(std::string(status.message()),
                HasSubstr("leads out of the module repository"));
  }
  EXPECT_GT(num_loaded, 0);
  EXPECT_GT(num_refused, 0);
}

}  // namespace
}  // namespace attention
