// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/server/repository/module_files.h"

namespace attention {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;
void ExpectLoadError(const TemporaryDirectory& directory, absl::StatusCode code,
                     const std::string& text) {
  const auto module = OpenRepository(directory)->Load("m");
  EXPECT_EQ(module.status().code(), code) << module.status();
  const std::string message(module.status().message());
  EXPECT_THAT(message, HasSubstr(text));
  EXPECT_THAT(message, Not(HasSubstr(directory.path().string())));
}

TEST(ModuleRepositoryContainsTest, KnowsBothFormsAndNothingElse) {
  const TemporaryDirectory directory;
  directory.Write("file.safetensors", "");
  directory.Write("folder/config.json", "");
  directory.Write("empty/other", "");
  directory.Write("odd.safetensors/config.json", "");
  const auto repository = OpenRepository(directory);

  EXPECT_TRUE(repository->Contains("file").value());
  EXPECT_TRUE(repository->Contains("folder").value());
  EXPECT_TRUE(repository->Contains("odd.safetensors").value());
  for (const char* name : {"empty", "odd", "absent", "file.safetensors", "",
                           ".", "empty/../folder", "folder/config.json"}) {
    EXPECT_FALSE(repository->Contains(name).value()) << name;
  }
}

TEST(ModuleRepositoryOpenTest, NamesADirectoryThatDoesNotExist) {
  const auto repository = ModuleRepository::Open("/does/not/exist", kMaxBytes);

  EXPECT_EQ(repository.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(repository.status().message()),
              HasSubstr("/does/not/exist"));
}

TEST(ModuleRepositoryOpenTest, RefusesAFile) {
  const TemporaryDirectory directory;
  directory.Write("file", "");

  const auto repository =
      ModuleRepository::Open((directory.path() / "file").string(), kMaxBytes);

  EXPECT_EQ(repository.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ModuleRepositoryOpenTest, SweepsWhatInterruptedWritersLeft) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors", OneFileForm());
  directory.Write(".attention-upload-7-0.tmp", OneFileForm().substr(0, 100));

  const auto repository = OpenRepository(directory);

  EXPECT_THAT(directory.Names(), ElementsAre("m.safetensors"));
  EXPECT_TRUE(repository->Load("m").ok());
}

TEST(ModuleRepositoryListTest, ListsBothForms) {
  const TemporaryDirectory directory;
  directory.Write("b.safetensors", "");
  directory.Write("a/config.json", "");
  directory.Write("c.d.safetensors", "");
  directory.Write("not_a_module/other", "");
  directory.Write("README.md", "");
  directory.Write(".hidden.safetensors", "");
  directory.Write("-x.safetensors", "");
  const auto repository = OpenRepository(directory);

  EXPECT_THAT(repository->List().value(), ElementsAre("a", "b", "c.d"));
}

TEST(ModuleRepositoryListTest, SeesModulesThatWereAddedLater) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);
  EXPECT_THAT(repository->List().value(), ElementsAre());

  directory.Write("m.safetensors", "");

  EXPECT_THAT(repository->List().value(), ElementsAre("m"));
}

TEST(ModuleRepositoryLoadTest, LoadsTheOneFileForm) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors", OneFileForm());

  const auto module = OpenRepository(directory)->Load("m");

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->config, ModuleConfig(SmallConfig()));
}

TEST(ModuleRepositoryLoadTest, LoadsTheFolderForm) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json", kConfigJson);
  directory.Write("m/model.safetensors", WeightsFile());

  const auto module = OpenRepository(directory)->Load("m");

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->config, ModuleConfig(SmallConfig()));
}

TEST(ModuleRepositoryLoadTest, LoadsAPartOfAWholeModel) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json",
                  std::string(kConfigJson.substr(0, kConfigJson.size() - 1)) +
                      R"(, "weights_file": "sub/whole.safetensors",)"
                      R"( "weights_prefix": "layers.3."})");
  directory.Write("m/sub/whole.safetensors", WeightsFile("layers.3."));
  directory.Write("n.safetensors", OneFileForm());
  const auto repository = OpenRepository(directory);

  const auto module = repository->Load("m");

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->weights_digest,
            repository->Load("n").value().weights_digest);
}

TEST(ModuleRepositoryLoadTest, DoesNotFindAnUnknownName) {
  const TemporaryDirectory directory;
  directory.Write("n.safetensors", OneFileForm());

  ExpectLoadError(directory, absl::StatusCode::kNotFound, "repository");
}

TEST(ModuleRepositoryLoadTest, RefusesNamesThatAreNoNames) {
  const TemporaryDirectory directory;
  const auto repository = OpenRepository(directory);

  for (const std::string name : {"", ".", "..", "../m", "a/b"}) {
    EXPECT_EQ(repository->Load(name).status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST(ModuleRepositoryLoadTest, RefusesANameInBothForms) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors", OneFileForm());
  directory.Write("m/config.json", kConfigJson);

  ExpectLoadError(directory, absl::StatusCode::kFailedPrecondition, "twice");
}

TEST(ModuleRepositoryLoadTest, RefusesAFileWithoutConfig) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors", WeightsFile());

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument, "\"config\"");
}

TEST(ModuleRepositoryLoadTest, RefusesAFileThatIsCutOff) {
  const TemporaryDirectory directory;
  const std::string file = OneFileForm();
  directory.Write("m.safetensors", file.substr(0, file.size() - 1));

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument, "data");
}

TEST(ModuleRepositoryLoadTest, RefusesAFileThatIsTooLong) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors", OneFileForm());

  directory.Write("n/config.json", kConfigJson);
  directory.Write("n/model.safetensors", WeightsFile());
  const auto repository = OpenRepository(directory, /*max_bytes=*/100);

  for (const char* name : {"m", "n"}) {
    const absl::Status status = repository->Load(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()),
                EndsWith("expected at most 100 (--max-module-bytes)"));
  }
}

// No flag makes them longer.
TEST(ModuleRepositoryLoadTest, NamesNoFlagForAConfigThatIsTooLong) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json",
                  std::string(ModuleRepository::kMaxConfigBytes + 1, ' '));
  directory.Write("m/model.safetensors", WeightsFile());

  const absl::Status status = OpenRepository(directory)->Load("m").status();

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              EndsWith("expected at most 1048576"));
}

TEST(ModuleRepositoryLoadTest, RefusesAnUnknownFieldOfTheConfig) {
  const TemporaryDirectory directory;
  directory.Write("m.safetensors",
                  WeightsFile("", {{"config", R"({"multi_head_attention":)"
                                              R"({"heads": 2}})"}}));

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument, "heads");
}

TEST(ModuleRepositoryLoadTest, RefusesAnUnknownFieldOfTheFolderForm) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json", R"({"weigths_prefix": "a."})");

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "weigths_prefix");
}

TEST(ModuleRepositoryLoadTest, RefusesAFolderWithoutConfigOfAKind) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json", "{}");

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "config.json: ");
}

TEST(ModuleRepositoryLoadTest, ReportsAMissingWeightsFile) {
  const TemporaryDirectory directory;
  directory.Write("m/config.json", kConfigJson);

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "'m/model.safetensors'");
}

class EscapingPath : public ::testing::TestWithParam<std::string> {};

TEST_P(EscapingPath, IsRefused) {
  const TemporaryDirectory directory;
  directory.Write("other.safetensors", WeightsFile());
  directory.Write("m/sub/x", "");
  directory.Write("m/config.json",
                  std::string(kConfigJson.substr(0, kConfigJson.size() - 1)) +
                      R"(, "weights_file": ")" + GetParam() + "\"}");

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "expected a relative path");
}

INSTANTIATE_TEST_SUITE_P(ModuleRepositoryLoadTest, EscapingPath,
                         ::testing::Values("../other.safetensors",
                                           "sub/../../other.safetensors",
                                           "/etc/passwd", "sub//x", "./x",
                                           "sub/", "..",
                                           "model.safetensors\\u0000"));

TEST(ModuleRepositoryLoadTest, DoesNotFollowALinkToAFile) {
  const TemporaryDirectory outside;
  outside.Write("secret.safetensors", OneFileForm());
  const TemporaryDirectory directory;
  std::filesystem::create_symlink(outside.path() / "secret.safetensors",
                                  directory.path() / "m.safetensors");

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "symbolic links are not followed");
}

TEST(ModuleRepositoryLoadTest, DoesNotFollowALinkToAFolder) {
  const TemporaryDirectory outside;
  outside.Write("config.json", kConfigJson);
  outside.Write("model.safetensors", WeightsFile());
  const TemporaryDirectory directory;
  std::filesystem::create_directory_symlink(outside.path(),
                                            directory.path() / "m");

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "symbolic links are not followed");
}

TEST(ModuleRepositoryLoadTest, DoesNotFollowALinkOnTheWayToTheWeights) {
  const TemporaryDirectory outside;
  outside.Write("model.safetensors", WeightsFile());
  const TemporaryDirectory directory;
  directory.Write("m/config.json",
                  std::string(kConfigJson.substr(0, kConfigJson.size() - 1)) +
                      R"(, "weights_file": "sub/model.safetensors"})");
  std::filesystem::create_directory_symlink(outside.path(),
                                            directory.path() / "m/sub");

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "symbolic links are not followed");
}

TEST(ModuleRepositoryLoadTest, DoesNotWaitForAFifo) {
  const TemporaryDirectory directory;
  ASSERT_EQ(mkfifo((directory.path() / "m.safetensors").c_str(), 0600), 0);

  ExpectLoadError(directory, absl::StatusCode::kInvalidArgument,
                  "not a regular file");
}

}  // namespace
}  // namespace attention
