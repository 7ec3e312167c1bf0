// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace attention {
namespace {

using ::testing::HasSubstr;

std::string MessageOf(std::string_view json) {
  const auto index = ParseSafetensorsIndex(json);
  EXPECT_EQ(index.status().code(), absl::StatusCode::kInvalidArgument) << json;
  return std::string(index.status().message());
}

TEST(SafetensorsIndexTest, ReadsWhichFileATensorIsIn) {
  const auto index = ParseSafetensorsIndex(
      R"({"metadata": {"total_size": 8, "weight_map": {"no": "no"}, "x": [{}]},
          "weight_map": {"a.weight": "1.safetensors", "b": "2.safetensors"},
          "more": null})");

  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(*index, (SafetensorsIndex{{"a.weight", "1.safetensors"},
                                      {"b", "2.safetensors"}}));
}

TEST(SafetensorsIndexTest, RefusesWhatIsNone) {
  for (const char* json :
       {"", "[]", "{}", "null", "1", "\"weight_map\"", R"({"weight_map": []})",
        R"({"weight_map": "x"})", R"({"a": {"weight_map": {"a": "b"}}})"}) {
    EXPECT_THAT(MessageOf(json),
                ::testing::AnyOf(HasSubstr("expected an object with"),
                                 HasSubstr("malformed JSON")))
        << json;
  }
  EXPECT_THAT(MessageOf(R"({"weight_map": {"a": "b")"),
              HasSubstr("malformed JSON"));
}

TEST(SafetensorsIndexTest, RefusesEntriesThatAreNoNames) {
  EXPECT_THAT(MessageOf(R"({"weight_map": {"a": 1}})"),
              HasSubstr("the file of tensor 'a' is a number"));
  EXPECT_THAT(MessageOf(R"({"weight_map": {"a": {"b": "c"}}})"),
              HasSubstr("is an object"));
  EXPECT_THAT(MessageOf(R"({"weight_map": {"a": ["b"]}})"),
              HasSubstr("is an array"));
  EXPECT_THAT(MessageOf(R"({"weight_map": {"a": ""}})"),
              HasSubstr("1 to 1024 bytes"));
  EXPECT_THAT(MessageOf(R"({"weight_map": {")" + std::string(1025, 'a') +
                        R"(": "b"}})"),
              HasSubstr("1 to 1024 bytes"));
  EXPECT_THAT(MessageOf(R"({"weight_map": {"a": "b", "a": "c"}})"),
              HasSubstr("duplicate"));
  EXPECT_THAT(MessageOf(R"({"weight_map": {}, "weight_map": {}})"),
              HasSubstr("duplicate"));
}

TEST(SafetensorsIndexTest, RefusesMoreTensorsThanItsLimit) {
  std::string json = R"({"weight_map": {)";
  for (std::size_t i = 0; i <= kMaxSafetensorsIndexEntries; ++i) {
    json += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"f\"";
  }

  EXPECT_THAT(MessageOf(json + "}}"), HasSubstr("more than 524288 tensors"));
}

TEST(SafetensorsIndexTest, DoesNotMindDepth) {
  const std::string deep(100'000, '[');

  EXPECT_THAT(MessageOf(R"({"x": )" + deep), HasSubstr("malformed JSON"));
}

}  // namespace
}  // namespace attention
