// SPDX-License-Identifier: Apache-2.0
// Files the server may not read, such as those saved with mode 0600, and the
// lost+found of a volume; and one that the file system cannot look up.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>

#include "tests/server/repository/module_files.h"

// In the place of libc's: a file system that has lost one entry's inode.
extern "C" int fstatat(int directory, const char* name, struct stat* info,
                       int flags) noexcept {
  if (std::string_view(name) == "stale.safetensors") {
    errno = ESTALE;
    return -1;
  }
  return static_cast<int>(
      syscall(SYS_newfstatat, directory, name, info, flags));
}

namespace attention {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class UnreadableRepositoryTest : public ::testing::Test {
 protected:
  UnreadableRepositoryTest() {
    fs::permissions(directory_.path(), fs::perms(0755));
    directory_.Write("good.safetensors", OneFileForm());
    directory_.Write("file.safetensors", OneFileForm());
    directory_.Write("folder/config.json", std::string(kConfigJson));
    directory_.Write("folder/model.safetensors", WeightsFile());
    directory_.Write("closed/config.json", std::string(kConfigJson));
    directory_.Write("lost+found/x", "");
    Deny("file.safetensors");
    Deny("folder/model.safetensors");
    Deny("closed");
    Deny("lost+found");
    ActAs(kNobody);
  }
  ~UnreadableRepositoryTest() override {
    ActAs(getuid());
    for (const char* name : {"", "closed", "lost+found"}) {
      fs::permissions(directory_.path() / name, fs::perms(0755));
    }
  }
  void Deny(const std::string& name) const {
    fs::permissions(directory_.path() / name, fs::perms::none);
  }

  // Root's rights are not checked: act as somebody else.
  static void ActAs(uid_t user) {
    if (getuid() == 0) {
      EXPECT_EQ(seteuid(user), 0);
    }
  }

  static constexpr uid_t kNobody = 65534;
  const TemporaryDirectory directory_;
};

TEST_F(UnreadableRepositoryTest, SaysThatAModuleMayNotBeRead) {
  const auto repository = OpenRepository(directory_);

  for (const char* name : {"file", "folder", "closed"}) {
    const absl::Status status = repository->Load(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("Permission denied"));
  }
}

TEST_F(UnreadableRepositoryTest, ListsAndLoadsTheOthers) {
  const auto repository = OpenRepository(directory_);

  EXPECT_THAT(repository->List().value(),
              ElementsAre("closed", "file", "folder", "good"));
  EXPECT_TRUE(repository->Load("good").ok());
}

TEST_F(UnreadableRepositoryTest, SaysThatItMayNotBeReadOrSearched) {
  const auto repository = OpenRepository(directory_);
  for (const fs::perms permissions : {fs::perms::none, fs::perms(0444)}) {
    ActAs(getuid());
    fs::permissions(directory_.path(), permissions);
    ActAs(kNobody);

    EXPECT_EQ(repository->Load("good").status().code(),
              absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(repository->Contains("good").status().code(),
              absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(repository->List().status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(UnreadableRepositoryTest, ListsWhatCannotBeLookedUpAndTheOthers) {
  ActAs(getuid());
  directory_.Write("stale.safetensors", OneFileForm());
  const auto repository = OpenRepository(directory_);

  const auto names = repository->List();

  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(*names, IsSupersetOf({"good", "stale"}));
  for (const absl::Status& status : {repository->Load("stale").status(),
                                     repository->Contains("stale").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("cannot look up 'stale.safetensors'"));
  }
}

TEST_F(UnreadableRepositoryTest, SaysThatItMayNotBeWritten) {
  const auto repository = OpenRepository(directory_);
  const ModuleTensors tensors(SmallConfig());

  EXPECT_EQ(repository->Store("new", SmallConfig(), tensors.views()).code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attention
