// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/core/safetensors/safetensors_bytes.h"

namespace attention {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::string_view TensorBytes(const TensorView& tensor) {
  return {reinterpret_cast<const char*>(tensor.data), tensor.num_bytes()};
}

TEST(SafetensorsViewTest, FindsTensorsMetadataAndTheirBytes) {
  const std::string file = SafetensorsBytes(
      R"({"__metadata__":{"config":"{}","by":"hand"},)"
      R"("b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},)"
      R"("a":{"data_offsets":[0,8],"shape":[1,2],"dtype":"F32"}})",
      "ABCDEFGHijkl");

  const auto view = SafetensorsView::Parse(AsBytes(file));

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_THAT(view->metadata(),
              ElementsAre(Pair("by", "hand"), Pair("config", "{}")));
  ASSERT_EQ(view->tensors().size(), 2U);
  const TensorView& a = view->tensors().at("a");
  EXPECT_EQ(a.dtype, DataType::kFloat32);
  EXPECT_EQ(a.shape, Shape({1, 2}));
  EXPECT_EQ(TensorBytes(a), "ABCDEFGH");
  EXPECT_EQ(TensorBytes(view->tensors().at("b")), "ijkl");
}

TEST(SafetensorsViewTest, ReadsEveryDtypeItHasATypeFor) {
  const std::string file = SafetensorsBytes(
      R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
      R"("c":{"dtype":"F16","shape":[1],"data_offsets":[12,14]},)"
      R"("d":{"dtype":"BF16","shape":[1],"data_offsets":[14,16]},)"
      R"("e":{"dtype":"BOOL","shape":[1],"data_offsets":[16,17]},)"
      R"("f":{"dtype":"I32","shape":[1],"data_offsets":[17,21]},)"
      R"("g":{"dtype":"I64","shape":[1],"data_offsets":[21,29]}})",
      std::string(29, '\1'));

  const auto view = SafetensorsView::Parse(AsBytes(file));

  ASSERT_TRUE(view.ok()) << view.status();
  std::string dtypes;
  for (const auto& [name, tensor] : view->tensors()) {
    dtypes.append(DataTypeName(tensor.dtype)) += ' ';
  }
  EXPECT_EQ(dtypes, "float64 float32 float16 bfloat16 bool int32 int64 ");
}

TEST(SafetensorsViewTest, KeepsForeignDtypesApart) {
  const std::string file = SafetensorsBytes(
      R"({"q":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},)"
      R"("n":{"dtype":"F4","shape":[2],"data_offsets":[3,4]},)"
      R"("w":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}})",
      "012345");

  const auto view = SafetensorsView::Parse(AsBytes(file));

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_THAT(view->unsupported(),
              ElementsAre(Pair("n", "F4"), Pair("q", "F8_E4M3")));
  EXPECT_THAT(view->tensors(), ::testing::SizeIs(1));
}

TEST(SafetensorsViewTest, AcceptsWhitespaceAroundTheHeader) {
  const std::string file = SafetensorsBytes(
      "\n\t \r{\"a\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[0,1]}}"
      " \t\r\n",
      std::string(1, '\1'));

  const auto view = SafetensorsView::Parse(AsBytes(file));

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->tensors().at("a").shape.rank(), 0U);
}

TEST(SafetensorsViewTest, AcceptsAFileWithoutTensors) {
  const auto view = SafetensorsView::Parse(AsBytes(SafetensorsBytes("{}")));

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE(view->tensors().empty());
}

TEST(SafetensorsViewTest, AcceptsEmptyTensorsAnywhere) {
  const std::string file = SafetensorsBytes(
      R"({"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
      R"("b":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
      R"("c":{"dtype":"F64","shape":[2,0],"data_offsets":[2,2]}})",
      "xy");

  const auto view = SafetensorsView::Parse(AsBytes(file));

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->tensors().at("c").num_bytes(), 0U);
}

TEST(SafetensorsViewTest, ReadsEscapedNames) {
  const std::string file = SafetensorsBytes(
      R"({"\u0061\"\n\u00e4":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})",
      "xy");

  const auto view = SafetensorsView::Parse(AsBytes(file));

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE(view->tensors().contains("a\"\n\xC3\xA4"));
}

TEST(SafetensorsViewTest, RefusesEveryTruncation) {
  const std::string file = SafetensorsBytes(
      R"({"__metadata__":{"k":"v"},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  )",
      "01234567");
  ASSERT_TRUE(SafetensorsView::Parse(AsBytes(file)).ok());

  for (std::size_t length = 0; length < file.size(); ++length) {
    // A copy of exactly this length, so that a sanitizer sees a read beyond it.
    const std::vector<std::byte> part(
        AsBytes(file).begin(),
        AsBytes(file).begin() + static_cast<std::ptrdiff_t>(length));
    const auto view = SafetensorsView::Parse(part);
    EXPECT_EQ(view.status().code(), absl::StatusCode::kInvalidArgument)
        << "of " << length << " bytes";
  }
}

TEST(SafetensorsViewTest, RefusesMoreTensorsThanItsLimit) {
  std::string header = "{";
  for (std::size_t i = 0; i <= SafetensorsView::kMaxTensors; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
              R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }

  const auto view =
      SafetensorsView::Parse(AsBytes(SafetensorsBytes(header + "}")));

  EXPECT_THAT(std::string(view.status().message()),
              ::testing::HasSubstr("more than 65536 tensors"));
}

TEST(SafetensorsViewTest, RefusesMoreMetadataThanItsLimit) {
  std::string header = R"({"__metadata__":{)";
  for (std::size_t i = 0; i <= SafetensorsView::kMaxMetadataEntries; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"\"";
  }

  const auto view =
      SafetensorsView::Parse(AsBytes(SafetensorsBytes(header + "}}")));

  EXPECT_THAT(std::string(view.status().message()),
              ::testing::HasSubstr("more than 4096 metadata entries"));
}

TEST(SafetensorsViewTest, RefusesDeepNestingOnSight) {
  const std::string header = "{\"a\":" + std::string(std::size_t{1} << 20, '[');

  const auto view = SafetensorsView::Parse(AsBytes(SafetensorsBytes(header)));

  EXPECT_THAT(std::string(view.status().message()),
              ::testing::HasSubstr("entry 'a' is an array"));
}

TEST(SafetensorsViewTest, DoesNotEchoWhatCouldForgeALogLine) {
  const std::string file = SafetensorsBytes(
      "{\"" + std::string(500, 'n') + "\\n\":{\"dtype\":\"X\\n\"," +
      R"("shape":[],"data_offsets":[0,0]}})");

  const auto view = SafetensorsView::Parse(AsBytes(file));

  const std::string message(view.status().message());
  EXPECT_LT(message.size(), 300U);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace attention
