// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/core/safetensors/safetensors_bytes.h"

namespace attention {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using AnonymousFile = std::unique_ptr<std::FILE, Close>;

AnonymousFile FileWith(const std::string& bytes) {
  AnonymousFile file(std::tmpfile());
  std::fwrite(bytes.data(), 1, bytes.size(), file.get());
  std::fflush(file.get());
  return file;
}

std::string SmallFile() {
  return SafetensorsBytes(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "0123");
}

TEST(SafetensorsFileTest, ReadsAFileFromItsStart) {
  const AnonymousFile file = FileWith(SmallFile());

  const auto content = SafetensorsFile::Read(fileno(file.get()), 1024);

  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_TRUE(content->view().tensors().contains("a"));
}

TEST(SafetensorsFileTest, KeepsItsViewWhenMoved) {
  const AnonymousFile file = FileWith(SmallFile());
  auto content = SafetensorsFile::Read(fileno(file.get()), 1024);
  ASSERT_TRUE(content.ok()) << content.status();

  const SafetensorsFile moved = *std::move(content);

  EXPECT_EQ(*moved.view().tensors().at("a").data, std::byte{'0'});
}

TEST(SafetensorsFileTest, RefusesAFileBeyondTheLimitUnread) {
  const AnonymousFile file = FileWith("");
  ASSERT_EQ(ftruncate(fileno(file.get()), off_t{1} << 40), 0);

  const auto content = SafetensorsFile::Read(fileno(file.get()), 1 << 20);

  EXPECT_EQ(content.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(content.status().message()),
              ::testing::HasSubstr("1099511627776 bytes, expected at most"));
}

TEST(SafetensorsFileTest, RefusesWhatIsNotAFile) {
  const int null_device = open("/dev/null", O_RDONLY | O_CLOEXEC);

  const auto content = SafetensorsFile::Read(null_device, 1024);

  EXPECT_EQ(content.status().code(), absl::StatusCode::kInvalidArgument);
  close(null_device);
}

TEST(SafetensorsFileTest, ReportsAnUnreadableDescriptor) {
  const auto content = SafetensorsFile::Read(/*file=*/-1, 1024);

  EXPECT_EQ(content.status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace attention
