// SPDX-License-Identifier: Apache-2.0
#include "server/repository/temporary_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <span>
#include <utility>

#include "tests/server/repository/temporary_directory.h"

namespace attention {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

UniqueFd OpenDirectory(const TemporaryDirectory& directory) {
  return UniqueFd(
      open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(TemporaryFileTest, TakesThePlaceOfAFile) {
  const TemporaryDirectory directory;
  directory.Write("name", "old");
  const UniqueFd fd = OpenDirectory(directory);
  auto file = TemporaryFile::Create(fd.get());
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(WriteAll(file->fd(), AsBytes("new")).ok());
  EXPECT_EQ(directory.Read("name"), "old");

  EXPECT_TRUE(file->Commit("name").ok());

  EXPECT_EQ(directory.Read("name"), "new");
  EXPECT_THAT(directory.Names(), ElementsAre("name"));
}

TEST(TemporaryFileTest, LeavesNothingWhenDropped) {
  const TemporaryDirectory directory;
  const UniqueFd fd = OpenDirectory(directory);

  {
    auto file = TemporaryFile::Create(fd.get());
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_THAT(directory.Names(), SizeIs(1));
  }

  EXPECT_THAT(directory.Names(), IsEmpty());
}

TEST(TemporaryFileTest, IsNotSweptWhileItsWriterLives) {
  const TemporaryDirectory directory;
  const UniqueFd fd = OpenDirectory(directory);
  auto file = TemporaryFile::Create(fd.get());
  ASSERT_TRUE(file.ok()) << file.status();

  EXPECT_TRUE(SweepTemporaries(fd.get()).ok());

  EXPECT_TRUE(file->Commit("name").ok());
  EXPECT_THAT(directory.Names(), ElementsAre("name"));
}

TEST(TemporaryFileTest, IsSweptWhenItsWriterWasKilled) {
  const TemporaryDirectory directory;
  const UniqueFd fd = OpenDirectory(directory);
  const pid_t writer = fork();
  if (writer == 0) {
    const auto file = TemporaryFile::Create(fd.get());
    if (!file.ok() || !WriteAll(file->fd(), AsBytes("half")).ok()) _exit(1);
    _exit(0);  // without destructors, as when killed
  }
  int status = 0;
  ASSERT_EQ(waitpid(writer, &status, 0), writer);
  ASSERT_EQ(status, 0);
  ASSERT_THAT(directory.Names(), SizeIs(1));

  EXPECT_TRUE(SweepTemporaries(fd.get()).ok());

  EXPECT_THAT(directory.Names(), IsEmpty());
}

TEST(TemporaryFileTest, LeavesOtherFilesWhenSweeping) {
  const TemporaryDirectory directory;
  directory.Write("a.tmp", "");
  directory.Write(".attention-upload-notes", "");
  const UniqueFd fd = OpenDirectory(directory);

  EXPECT_TRUE(SweepTemporaries(fd.get()).ok());

  EXPECT_THAT(directory.Names(), SizeIs(2));
}

}  // namespace
}  // namespace attention
