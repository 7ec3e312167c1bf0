// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/tensor_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "core/safetensors/safetensors_writer.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"
#include "tests/client/temp_folder.h"

namespace attention {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

class TensorFilesTest : public testing::Test {
 protected:
  TempFolder folder_;
  Tensor a_ = RandomTensor(DataType::kFloat32, Shape{2, 3}, /*seed=*/1);
  Tensor b_ = RandomTensor(DataType::kFloat64, Shape{4}, /*seed=*/2);
};

std::string TextOf(const absl::Status& status) {
  return std::string(StatusText(status));
}

TEST_F(TensorFilesTest, ReadsNpyFile) {
  ASSERT_TRUE(WriteTensorFile(folder_ / "a.npy", {{"output", a_.view()}}).ok());

  const auto tensor = ReadTensorFile(folder_ / "a.npy", "query");

  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape(), a_.shape());
  EXPECT_EQ(std::memcmp(tensor->view().data, a_.view().data, a_.num_bytes()),
            0);
}

TEST_F(TensorFilesTest, ReadsNamedTensorOfSafetensorsFile) {
  const std::string path = folder_ / "ab.safetensors";
  ASSERT_TRUE(
      WriteTensorFile(path, {{"a", a_.view()}, {"b:c", b_.view()}}).ok());

  EXPECT_EQ(ReadTensorFile(path + ":a", "query")->shape(), a_.shape());
  EXPECT_EQ(ReadTensorFile(path + ":b:c", "query")->shape(), b_.shape());
}

TEST_F(TensorFilesTest, TakesTheTensorOfTheRoleWhenNoneIsNamed) {
  const std::string path = folder_ / "ab.safetensors";
  ASSERT_TRUE(
      WriteTensorFile(path, {{"key", a_.view()}, {"query", b_.view()}}).ok());

  EXPECT_EQ(ReadTensorFile(path, "query")->shape(), b_.shape());
}

TEST_F(TensorFilesTest, TakesTheOnlyTensor) {
  const std::string path = folder_ / "a.safetensors";
  ASSERT_TRUE(WriteTensorFile(path, {{"x", a_.view()}}).ok());

  EXPECT_EQ(ReadTensorFile(path, "query")->shape(), a_.shape());
}

TEST_F(TensorFilesTest, NamesTheTensorsThereAre) {
  const std::string path = folder_ / "ab.safetensors";
  ASSERT_TRUE(
      WriteTensorFile(path, {{"first", a_.view()}, {"second", b_.view()}})
          .ok());

  const auto unnamed = ReadTensorFile(path, "query");
  const auto misnamed = ReadTensorFile(path + ":third", "query");

  EXPECT_THAT(TextOf(unnamed.status()), HasSubstr("FILE:TENSOR"));
  EXPECT_THAT(TextOf(misnamed.status()), HasSubstr("first, second"));
}

TEST_F(TensorFilesTest, ReportsMissingMalformedAndUnknownFiles) {
  ASSERT_TRUE(WriteTextFile(folder_ / "bad.safetensors", "garbage").ok());
  ASSERT_TRUE(WriteTextFile(folder_ / "bad.npy", "garbage").ok());

  EXPECT_EQ(ReadTensorFile(folder_ / "no.npy", "query").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(
      TextOf(ReadTensorFile(folder_ / "bad.safetensors", "query").status()),
      HasSubstr("bad.safetensors: "));
  EXPECT_THAT(TextOf(ReadTensorFile(folder_ / "bad.npy", "query").status()),
              HasSubstr("not a .npy file"));
  EXPECT_THAT(TextOf(ReadTensorFile("tensor.pt", "query").status()),
              HasSubstr("expected FILE.npy or FILE.safetensors"));
}

TEST_F(TensorFilesTest, OffersTheNearestTensor) {
  const std::string path = folder_ / "ab.safetensors";
  ASSERT_TRUE(
      WriteTensorFile(path, {{"queries", a_.view()}, {"mask", b_.view()}})
          .ok());

  EXPECT_THAT(TextOf(ReadTensorFile(path + ":querys", "query").status()),
              HasSubstr("there is no tensor \"querys\"; the file has mask, "
                        "queries; did you mean 'queries'?"));
}

TEST_F(TensorFilesTest, SaysWhatAFileOfAnotherKindIs) {
  ASSERT_TRUE(WriteTensorFile(folder_ / "a.npy", {{"a", a_.view()}}).ok());
  ASSERT_TRUE(
      WriteTensorFile(folder_ / "a.safetensors", {{"a", a_.view()}}).ok());
  std::filesystem::rename(folder_ / "a.npy", folder_ / "npy.safetensors");
  std::filesystem::rename(folder_ / "a.safetensors", folder_ / "st.npy");
  ASSERT_TRUE(WriteTextFile(folder_ / "zip.npy", "PK\3\4 and more").ok());
  ASSERT_TRUE(
      WriteTextFile(folder_ / "old.safetensors", "\x80\2 and more").ok());

  EXPECT_THAT(
      TextOf(ReadTensorFile(folder_ / "npy.safetensors", "query").status()),
      HasSubstr("npy.safetensors: not a safetensors file but a NumPy array"));
  EXPECT_THAT(TextOf(ReadTensorFile(folder_ / "st.npy", "query").status()),
              EndsWith("st.npy: not a .npy file but a safetensors file"));
  EXPECT_THAT(TextOf(ReadTensorFile(folder_ / "zip.npy", "query").status()),
              HasSubstr("a zip archive"));
  EXPECT_THAT(
      TextOf(ReadSafetensorsMetadata(folder_ / "old.safetensors").status()),
      HasSubstr("but a pickle"));
}

TEST_F(TensorFilesTest, ReadsMetadataWithoutTheTensors) {
  const auto file =
      SerializeSafetensors({{"a", a_.view()}}, {{"config", "{\"x\": 1}"}});
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(WriteTextFile(folder_ / "m.safetensors", file->header).ok());

  const auto metadata = ReadSafetensorsMetadata(folder_ / "m.safetensors");

  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_EQ(metadata->at("config"), "{\"x\": 1}");
}

TEST_F(TensorFilesTest, RejectsMetadataOfTruncatedAndHugeHeaders) {
  using namespace std::string_literals;
  for (const std::string& text : {""s, "1234567"s, "\x10\0\0\0\0\0\0\0{}"s,
                                  "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F{}"s}) {
    ASSERT_TRUE(WriteTextFile(folder_ / "m.safetensors", text).ok());

    EXPECT_EQ(
        ReadSafetensorsMetadata(folder_ / "m.safetensors").status().code(),
        absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(TensorFilesTest, NamesAnotherFileCalledSafetensors) {
  const std::filesystem::path path = folder_ / "m.safetensors";
  ASSERT_TRUE(
      WriteTextFile(path, "version https://git-lfs.github.com/spec/v1\n").ok());

  for (const absl::Status& status :
       {ReadSafetensorsMetadata(path).status(),
        ReadSafetensorsFile(path).status(),
        ReadTensorFile(path.string(), "query").status()}) {
    EXPECT_THAT(TextOf(status), HasSubstr("m.safetensors: not a safetensors "
                                          "file but a git-LFS pointer"));
  }
}

TEST_F(TensorFilesTest, DoesNotWriteTwoTensorsAsNpy) {
  const absl::Status status = WriteTensorFile(
      folder_ / "two.npy", {{"output", a_.view()}, {"weights", b_.view()}});

  EXPECT_THAT(TextOf(status), HasSubstr(".safetensors"));
}

TEST_F(TensorFilesTest, ReportsFilesItCannotWrite) {
  EXPECT_FALSE(
      WriteTensorFile(folder_ / "missing/a.npy", {{"a", a_.view()}}).ok());
  EXPECT_FALSE(
      WriteTensorFile(folder_ / "missing/a.safetensors", {{"a", a_.view()}})
          .ok());
  EXPECT_FALSE(WriteTensorFile(folder_ / "a.txt", {{"a", a_.view()}}).ok());
}

}  // namespace
}  // namespace attention
