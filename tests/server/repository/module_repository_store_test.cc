// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/repository/module_files.h"

namespace attention {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Keeps files of this process from growing beyond a size, as a full disk
/// would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t num_bytes) {
    getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit limit = {num_bytes, previous_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &previous_);
    signal(SIGXFSZ, SIG_DFL);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit previous_{};
};

TEST(ModuleRepositoryStoreTest, StoresWhatItLoads) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  MultiHeadAttentionConfig config = SmallConfig();
  config.batch_first = true;
  config.dropout = 0.25;
  const ModuleTensors tensors(config, DataType::kBFloat16);

  ASSERT_TRUE(repository->Store("m", config, tensors.views()).ok());
  const auto module = repository->Load("m");

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->config, ModuleConfig(config));
  const TensorView stored =
      module->weights.layers[0].attention.output.weight.view();
  const TensorView original = tensors.views().at("out_proj.weight");
  EXPECT_EQ(stored.dtype, DataType::kBFloat16);
  EXPECT_EQ(std::memcmp(stored.data, original.data, original.num_bytes()), 0);
}

TEST(ModuleRepositoryStoreTest, KeepsTheDigest) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  const ModuleTensors tensors(SmallConfig());
  ASSERT_TRUE(repository->Store("a", SmallConfig(), tensors.views()).ok());
  ASSERT_TRUE(
      repository
          ->Store("b", SmallConfig(), tensors.views("x."), {.prefix = "x."})
          .ok());

  EXPECT_EQ(repository->Load("a").value().weights_digest,
            repository->Load("b").value().weights_digest);
}

TEST(ModuleRepositoryStoreTest, ReplacesAnOlderFile) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  const ModuleTensors old(SmallConfig());
  const ModuleTensors tensors(SmallConfig(), DataType::kFloat32, /*seed=*/2);
  ASSERT_TRUE(repository->Store("m", SmallConfig(), old.views()).ok());
  const std::string old_digest = repository->Load("m").value().weights_digest;

  ASSERT_TRUE(repository->Store("m", SmallConfig(), tensors.views()).ok());

  EXPECT_NE(repository->Load("m").value().weights_digest, old_digest);
  EXPECT_THAT(directory.Names(), ElementsAre("m.safetensors"));
}

TEST(ModuleRepositoryStoreTest, DoesNotOverwriteTheFolderForm) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json", "{}");
  const auto repository = OpenRepository(directory);
  const ModuleTensors tensors(SmallConfig());

  const absl::Status status =
      repository->Store("m", SmallConfig(), tensors.views());

  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(directory.Names(), ElementsAre("m"));
}

TEST(ModuleRepositoryStoreTest, DoesNotOverwriteAFolderWithTheFilesName) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors/config.json", "{}");
  const auto repository = OpenRepository(directory);
  const ModuleTensors tensors(SmallConfig());

  EXPECT_EQ(repository->Store("m", SmallConfig(), tensors.views()).code(),
            absl::StatusCode::kAlreadyExists);
}

TEST(ModuleRepositoryStoreTest, ReplacesALinkAndNotWhatItPointsTo) {
  const TemporaryDirectory outside;
  outside.Write("precious", "untouched");
  const TemporaryDirectory directory;
  std::filesystem::create_symlink(outside.path() / "precious",
                                  directory.path() / "m.safetensors");
  const auto repository = OpenRepository(directory);
  const ModuleTensors tensors(SmallConfig());

  EXPECT_TRUE(repository->Store("m", SmallConfig(), tensors.views()).ok());

  EXPECT_EQ(outside.Read("precious"), "untouched");
  EXPECT_TRUE(repository->Load("m").ok());
}

TEST(ModuleRepositoryStoreTest, RefusesAnInvalidName) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  const ModuleTensors tensors(SmallConfig());

  EXPECT_EQ(repository->Store("../m", SmallConfig(), tensors.views()).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ModuleRepositoryStoreTest, RefusesAMissingTensor) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);

  EXPECT_EQ(repository->Store("m", SmallConfig(), {}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(directory.Names(), IsEmpty());
}

TEST(ModuleRepositoryStoreTest, RefusesWhatItWouldNotLoad) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory, /*max_bytes=*/500);
  const ModuleTensors tensors(SmallConfig());

  const absl::Status status =
      repository->Store("m", SmallConfig(), tensors.views());

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              EndsWith("expected at most 500 (--max-module-bytes)"));
  EXPECT_THAT(directory.Names(), IsEmpty());
}

TEST(ModuleRepositoryStoreTest, KeepsTheOldModuleWhenWritingFails) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  const ModuleTensors old(SmallConfig());
  const ModuleTensors tensors(SmallConfig(), DataType::kFloat32, /*seed=*/2);
  ASSERT_TRUE(repository->Store("m", SmallConfig(), old.views()).ok());
  const std::string before = directory.Read("m.safetensors");

  absl::Status status;
  {
    const FileSizeLimit limit(before.size() - 1);
    status = repository->Store("m", SmallConfig(), tensors.views());
  }

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be stored"));
  EXPECT_EQ(directory.Read("m.safetensors"), before);
  EXPECT_THAT(directory.Names(), ElementsAre("m.safetensors"));
}

TEST(ModuleRepositoryStoreTest, ReportsADirectoryThatIsGone) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  std::filesystem::remove_all(directory.path());
  const ModuleTensors tensors(SmallConfig());

  EXPECT_EQ(repository->Store("m", SmallConfig(), tensors.views()).code(),
            absl::StatusCode::kInternal);
}

TEST(ModuleRepositoryStoreTest, HoldsOneOfTheModulesStoredAtTheSameTime) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  std::atomic<int> failures{0};
  std::vector<std::thread> writers;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    writers.emplace_back([&, seed] {
      const ModuleTensors tensors(SmallConfig(), DataType::kFloat32, seed);
      for (int i = 0; i < 10; ++i) {
        if (!repository->Store("m", SmallConfig(), tensors.views()).ok() ||
            !repository->Load("m").ok()) {
          ++failures;
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();

  EXPECT_EQ(failures, 0);
  EXPECT_THAT(directory.Names(), ElementsAre("m.safetensors"));
}

}  // namespace
}  // namespace attention
