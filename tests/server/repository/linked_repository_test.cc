// SPDX-License-Identifier: Apache-2.0
// Symbolic links in a repository: a hub's cache, a volume of Kubernetes, and
// what must not be reached by them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/server/repository/module_files.h"

namespace attention {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

class LinkedRepositoryTest : public ::testing::Test {
 protected:
  void Link(const fs::path& target, const std::string& name) const {
    fs::create_directories((directory_.path() / name).parent_path());
    fs::create_symlink(target, directory_.path() / name);
  }
  [[nodiscard]] absl::Status Load(const std::string& name = "m") const {
    return OpenRepository(directory_, kMaxBytes, link_roots_)
        ->Load(name)
        .status();
  }
  void ExpectRefused(const std::string& text) const {
    const absl::Status status = Load();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_THAT(std::string(status.message()), HasSubstr("'m"));
    for (const TemporaryDirectory* secret : {&directory_, &outside_}) {
      EXPECT_THAT(std::string(status.message()),
                  Not(HasSubstr(secret->path().string())));
    }
  }

  TemporaryDirectory directory_;
  TemporaryDirectory outside_;
  std::vector<std::string> link_roots_;
};

TEST_F(LinkedRepositoryTest, FollowsAHubsCache) {
  directory_.Write("hub/blobs/1234", WeightsFile());
  directory_.Write("hub/blobs/5678", std::string(kConfigJson));
  Link("../../blobs/1234", "hub/snapshots/abc/model.safetensors");
  Link("../../blobs/5678", "hub/snapshots/abc/config.json");
  Link("hub/snapshots/abc", "m");

  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(LinkedRepositoryTest, FollowsAVolumeOfKubernetes) {
  directory_.Write("..2026_01_01/file.safetensors", OneFileForm());
  directory_.Write("..2026_01_01/folder/config.json", std::string(kConfigJson));
  directory_.Write("..2026_01_01/folder/model.safetensors", WeightsFile());
  Link("..2026_01_01", "..data");
  Link("..data/file.safetensors", "file.safetensors");
  Link("..data/folder", "folder");

  EXPECT_THAT(OpenRepository(directory_)->List().value(),
              ElementsAre("file", "folder"));
  EXPECT_TRUE(Load("file").ok()) << Load("file");
  EXPECT_TRUE(Load("folder").ok()) << Load("folder");
}

TEST_F(LinkedRepositoryTest, FollowsAFolderThatIsAVolume) {
  directory_.Write("m/..2026_01_01/config.json", std::string(kConfigJson));
  directory_.Write("m/..2026_01_01/model.safetensors", WeightsFile());
  Link("..2026_01_01", "m/..data");
  Link("..data/config.json", "m/config.json");
  Link("..data/model.safetensors", "m/model.safetensors");

  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(LinkedRepositoryTest, FollowsAnAbsoluteLinkIntoItself) {
  directory_.Write("real/file", OneFileForm());
  Link(directory_.path() / "real/file", "m.safetensors");

  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(LinkedRepositoryTest, IsItselfPerhapsALink) {
  directory_.Write("real/file", OneFileForm());
  Link("real", "repository");
  fs::create_symlink(directory_.path() / "repository/file",
                     directory_.path() / "real/m.safetensors");

  const auto repository = ModuleRepository::Open(
      (directory_.path() / "repository").string(), kMaxBytes);

  EXPECT_TRUE((*repository)->Load("m").ok());
}

TEST_F(LinkedRepositoryTest, FollowsLinksIntoALinkRoot) {
  outside_.Write("file", OneFileForm());
  Link(outside_.path() / "file", "m.safetensors");
  ExpectRefused("symbolic links are not followed");

  link_roots_ = {outside_.path()};

  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(LinkedRepositoryTest, FollowsLinksIntoALinkRootThatIsALink) {
  outside_.Write("real/folder/config.json", std::string(kConfigJson));
  outside_.Write("real/folder/model.safetensors", WeightsFile());
  fs::create_symlink("real", outside_.path() / "root");
  Link(outside_.path() / "root/folder", "m");

  link_roots_ = {outside_.path() / "root/"};

  EXPECT_TRUE(Load().ok()) << Load();
}

TEST_F(LinkedRepositoryTest, TakesALinkRootByWholeComponents) {
  outside_.Write("root/x", "");
  outside_.Write("root-not/file", OneFileForm());
  Link(outside_.path() / "root-not/file", "m.safetensors");

  link_roots_ = {outside_.path() / "root"};

  ExpectRefused("symbolic links are not followed");
}

TEST_F(LinkedRepositoryTest, NeedsItsLinkRootsToExist) {
  const auto repository = ModuleRepository::Open(
      directory_.path().string(), kMaxBytes, {"/does/not/exist"});

  EXPECT_EQ(repository.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(repository.status().message()),
              HasSubstr("link root /does/not/exist"));
}

TEST_F(LinkedRepositoryTest, RefusesLinksToFilesOfTheSystem) {
  for (const char* target :
       {"/etc/passwd", "../../../../../../etc/passwd", "/proc/self/environ",
        "/proc/self/root"
        "/etc/passwd",
        "/dev/null", "/"}) {
    Link(target, "m.safetensors");

    ExpectRefused("leads out of the module repository");

    fs::remove(directory_.path() / "m.safetensors");
  }
}

TEST_F(LinkedRepositoryTest, RefusesAWeightsFileThatIsALinkOut) {
  outside_.Write("w", WeightsFile());
  directory_.Write("m/config.json", std::string(kConfigJson));
  Link(outside_.path() / "w", "m/model.safetensors");

  const absl::Status status = Load();

  EXPECT_THAT(std::string(status.message()),
              HasSubstr("cannot open 'm/model.safetensors': it leads out"));
}

TEST_F(LinkedRepositoryTest, RefusesAConfigThatIsALinkOut) {
  outside_.Write("c", std::string(kConfigJson));
  directory_.Write("m/model.safetensors", WeightsFile());
  Link(outside_.path() / "c", "m/config.json");

  EXPECT_THAT(std::string(Load().message()),
              HasSubstr("cannot open 'm/config.json': it leads out"));
}

TEST_F(LinkedRepositoryTest, NamesADanglingLink) {
  Link("nothing", "m.safetensors");
  ExpectRefused("a symbolic link that leads nowhere");
  fs::remove(directory_.path() / "m.safetensors");

  Link("nothing", "m");
  ExpectRefused("a symbolic link that leads nowhere");
}

TEST_F(LinkedRepositoryTest, NamesADanglingLinkInAFolder) {
  directory_.Write("m/config.json", std::string(kConfigJson));
  Link("nothing", "m/model.safetensors");

  const absl::Status status = Load();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("leads nowhere"));
}

TEST_F(LinkedRepositoryTest, BlamesNoLinkForAFileThatIsMissing) {
  fs::create_directory(directory_.path() / "weights");
  directory_.Write("m/config.json",
                   ConfigJsonWith(R"("weights_file": "sub/x.safetensors")"));
  Link("../weights", "m/sub");

  ExpectRefused("cannot open 'm/sub/x.safetensors': No such file");

  Link("nothing", "weights/x.safetensors");
  ExpectRefused("a symbolic link that leads nowhere");

  fs::remove_all(directory_.path() / "weights");
  ExpectRefused("a symbolic link that leads nowhere");
}

TEST_F(LinkedRepositoryTest, EndsALoop) {
  Link("b", "a");
  Link("a", "b");
  Link("a", "m.safetensors");
  ExpectRefused("symbolic links");
  fs::remove(directory_.path() / "m.safetensors");

  Link("m", "m");
  ExpectRefused("symbolic links");
}

TEST_F(LinkedRepositoryTest, DoesNotWaitForAFifoBehindALink) {
  ASSERT_EQ(mkfifo((directory_.path() / "fifo").c_str(), 0600), 0);
  Link("fifo", "m.safetensors");

  ExpectRefused("not a regular file");
}

TEST_F(LinkedRepositoryTest, TakesALinkToAFolderForNoFile) {
  directory_.Write("folder/config.json", std::string(kConfigJson));
  directory_.Write("folder/model.safetensors", WeightsFile());
  Link("folder", "m.safetensors");

  EXPECT_EQ(Load().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Load("m.safetensors").ok());
}

TEST_F(LinkedRepositoryTest, ListsWhatIsNotFollowedAndTheOthers) {
  directory_.Write("good.safetensors", OneFileForm());
  Link(outside_.path(), "out");
  Link("nothing", "dangling");
  Link("nothing", "file.safetensors");
  Link("loop", "loop");
  Link("good.safetensors", "README");

  EXPECT_THAT(OpenRepository(directory_)->List().value(),
              ElementsAre("dangling", "file", "good", "loop", "out"));
}

TEST_F(LinkedRepositoryTest, DoesNotTellWhatIsBehindALinkOut) {
  outside_.Write("a/config.json", std::string(kConfigJson));
  outside_.Write("b/other", "");
  Link(outside_.path() / "a", "a");
  Link(outside_.path() / "b", "b");

  EXPECT_EQ(Load("a").code(), Load("b").code());
}

TEST_F(LinkedRepositoryTest, NeverStoresThroughALink) {
  outside_.Write("precious/config.json", "untouched");
  Link(outside_.path() / "precious/config.json", "m.safetensors");
  Link(outside_.path() / "precious", "folder");
  directory_.Write("inside/config.json", "untouched");
  Link("inside", "n.safetensors");
  link_roots_ = {outside_.path()};
  const auto repository = OpenRepository(directory_, kMaxBytes, link_roots_);
  const ModuleTensors tensors(SmallConfig());

  EXPECT_TRUE(repository->Store("m", SmallConfig(), tensors.views()).ok());
  for (const char* name : {"folder", "n"}) {
    EXPECT_EQ(repository->Store(name, SmallConfig(), tensors.views()).code(),
              absl::StatusCode::kAlreadyExists)
        << name;
  }

  EXPECT_EQ(outside_.Read("precious/config.json"), "untouched");
  EXPECT_FALSE(fs::is_symlink(directory_.path() / "m.safetensors"));
  EXPECT_TRUE(fs::is_symlink(directory_.path() / "n.safetensors"));
}

// A worktree swapped below the server, as git-sync does.
TEST_F(LinkedRepositoryTest, SeesADirectoryThatWasSwapped) {
  directory_.Write("1/a.safetensors", OneFileForm());
  directory_.Write("2/b.safetensors", OneFileForm());
  Link("1", "current");
  const auto repository =
      ModuleRepository::Open((directory_.path() / "current").string(),
                             kMaxBytes)
          .value();
  ASSERT_THAT(repository->List().value(), ElementsAre("a"));

  Link("2", "next");
  fs::rename(directory_.path() / "next", directory_.path() / "current");
  fs::remove_all(directory_.path() / "1");

  EXPECT_THAT(repository->List().value(), ElementsAre("b"));
  EXPECT_TRUE(repository->Load("b").ok());
}

}  // namespace
}  // namespace attention
