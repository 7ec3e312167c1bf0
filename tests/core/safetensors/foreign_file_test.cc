// SPDX-License-Identifier: Apache-2.0
// Files that are taken for safetensors files and are none.
#include "core/safetensors/foreign_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <memory>
#include <ostream>
#include <string>

#include "core/safetensors/safetensors.h"
#include "core/safetensors/safetensors_file.h"
#include "tests/core/safetensors/safetensors_bytes.h"

namespace attention {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;

struct ForeignFile {
  std::string name;
  std::string start;
  std::string text;  ///< part of the message expected
};

void PrintTo(const ForeignFile& file, std::ostream* out) { *out << file.name; }

class ForeignFileTest : public ::testing::TestWithParam<ForeignFile> {};

std::string MessageOf(const std::string& file) {
  const auto view = SafetensorsView::Parse(AsBytes(file));
  EXPECT_EQ(view.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(view.status().message());
}

TEST_P(ForeignFileTest, IsNamed) {
  // Files of any length: the header's length is then beyond all limits, beyond
  // the file, or within it.
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{4096}, std::size_t{200'000}}) {
    const std::string file = GetParam().start + std::string(length, 'x');

    const std::string message = MessageOf(file);

    EXPECT_THAT(message, HasSubstr("not a safetensors file but "));
    EXPECT_THAT(message, HasSubstr(GetParam().text));
  }
}

TEST_P(ForeignFileTest, IsNamedWhereOnlyTheMetadataIsRead) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(),
                                                             std::fclose);
  std::fwrite(GetParam().start.data(), 1, GetParam().start.size(), file.get());
  std::fflush(file.get());

  const auto metadata = SafetensorsFile::ReadMetadata(fileno(file.get()));

  EXPECT_EQ(metadata.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(metadata.status().message()),
              HasSubstr(GetParam().text));
}

std::string Zip(const std::string& first_name) {
  return "PK\x03\x04\0\0\0\0"s + std::string(18, '\0') +
         static_cast<char>(first_name.size()) + "\0\0\0"s + first_name;
}

INSTANTIATE_TEST_SUITE_P(
    Table, ForeignFileTest,
    ::testing::Values(
        ForeignFile{"Npy", "\x93NUMPY\x01\0v\0{'descr'"s, "NumPy array"},
        ForeignFile{"Npz", Zip("arr_0.npy"), ".npz"},
        ForeignFile{"TorchZip", Zip("archive/data.pkl"), "attention-convert"},
        ForeignFile{"TorchLegacy", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20"s,
                    "attention-convert"},
        ForeignFile{"Pickle", "\x80\x04\x95\x1f\0\0\0\0\0\0\0}"s, "a pickle"},
        ForeignFile{"Html", "<!DOCTYPE html><html>", "web page"},
        ForeignFile{"IndentedHtml", "\n  <html><body>", "web page"},
        ForeignFile{"Xml", "<?xml version=\"1.0\"?><Error>AccessDenied",
                    "download"},
        ForeignFile{"GitLfs",
                    "version https://git-lfs.github.com/spec/v1\noid sha256:",
                    "git lfs pull"},
        ForeignFile{"Index",
                    R"({"metadata": {"total_size": 1}, "weight_map": {"a":)",
                    "the index of a sharded model"},
        ForeignFile{"Json", R"({"multi_head_attention": {)", "JSON text"},
        ForeignFile{"JsonWithMark", "\xEF\xBB\xBF {\n \"a\": 1}", "JSON text"},
        ForeignFile{"Gguf", "GGUF\x03\0\0\0\x10\0"s, "GGUF"},
        ForeignFile{"Hdf5", "\x89HDF\r\n\x1a\n\0\0"s, "HDF5"},
        ForeignFile{"Gzip", "\x1f\x8b\x08\0\0\0\0\0\0\x03"s, "gzip"},
        ForeignFile{"Zstd", "\x28\xb5\x2f\xfd\x04\0\0\0\0"s, "zstd"},
        ForeignFile{"Xz", "\xfd\x37zXZ\0\0\x04\xe6"s, "xz archive"}),
    [](const auto& case_info) { return case_info.param.name; });

TEST(ForeignFileOfZerosTest, IsNamed) {
  EXPECT_THAT(MessageOf(std::string(4096, '\0')), HasSubstr("a file of zeros"));
}

TEST(CutOffFileTest, IsNamed) {
  EXPECT_THAT(MessageOf(""), HasSubstr("it is empty"));
  EXPECT_THAT(MessageOf("1234"), HasSubstr("it is cut off"));
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_THAT(MessageOf(SafetensorsBytes(header.size(), header.substr(1), "")),
              HasSubstr("it is cut off"));
  // Lengths that look like "<" and "{".
  for (const std::size_t length : {std::size_t{'<'}, std::size_t{'{'}}) {
    EXPECT_THAT(MessageOf(SafetensorsBytes(length, header, "")),
                HasSubstr("it is cut off"));
  }
  EXPECT_THAT(MessageOf(SafetensorsBytes(header, "012")),
              HasSubstr("it is cut off"));
}

// The length of a header may begin with the mark of any other format.
TEST(ValidFileTest, IsNeverTakenForAForeignOne) {
  for (const std::string& mark :
       {"\x80\x02}"s, "\x80\x04\x95"s, "\x1f\x8b"s, "<h"s, "{\""s, "GGU"s,
        "PK\x03"s, "\x28\xb5"s}) {
    std::size_t length = 0;
    for (std::size_t i = mark.size(); i-- > 0;) {
      length = length << 8 | static_cast<unsigned char>(mark[i]);
    }
    for (const std::string& begin : {"{}"s, " {}"s, "\n{}"s}) {
      std::string file = SafetensorsBytes(length, begin, "");
      file.resize(8 + length, ' ');
      ASSERT_EQ(file.substr(0, mark.size()), mark);

      EXPECT_TRUE(SafetensorsView::Parse(AsBytes(file)).ok()) << length;
    }
  }
}

}  // namespace
}  // namespace attention
