// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "attention/v1/repository.pb.h"

namespace attention {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(JsonTest, ReadsTheProtosOwnNames) {
  v1::StoredModuleConfig message;

  const absl::Status status =
      ParseJson(R"({"weights_file": "a.safetensors"})", &message);

  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(message.weights_file(), "a.safetensors");
}

TEST(JsonTest, RefusesAnUnknownFieldAndNamesTheMessage) {
  v1::StoredModuleConfig message;

  const absl::Status status = ParseJson(R"({"weight_file": ""})", &message);

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("StoredModuleConfig"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("weight_file"));
}

std::string TextOfMistake(std::string_view json) {
  v1::StoredModuleConfig message;
  const absl::Status status = ParseJson(json, &message);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
  return std::string(status.message());
}

TEST(JsonTest, OffersTheProtosOwnNames) {
  EXPECT_EQ(TextOfMistake(R"({"weight_file": ""})"),
            "StoredModuleConfig has no field 'weight_file'; did you mean "
            "'weights_file'? It has config, weights_file, weights_prefix or "
            "weight_names");
  EXPECT_THAT(
      TextOfMistake(R"({"config": {"multihead_attention": {}}})"),
      HasSubstr("ModuleConfig has no field 'multihead_attention'; did you mean "
                "'multi_head_attention'?"));
  EXPECT_THAT(
      TextOfMistake(R"({"config": {"multi_head_attention": {"embed": 4}}})"),
      AllOf(HasSubstr("MultiHeadAttentionConfig has no field 'embed'"),
            HasSubstr("It has embed_dim, num_heads,")));
  EXPECT_THAT(TextOfMistake(R"({"config": {"compute_dtype": "BFLOAT16"}})"),
              HasSubstr("compute_dtype has no value 'BFLOAT16'"));
}

TEST(JsonTest, NamesFromOutsideAreQuoted) {
  EXPECT_THAT(TextOfMistake("{\"a\\nb\": 1}"), HasSubstr(R"('a\x0ab')"));
  EXPECT_LT(TextOfMistake("{\"" + std::string(100'000, 'x') + "\": 1}").size(),
            400);
}

TEST(JsonTest, EntriesOfMapsAreNoFields) {
  v1::StoredModuleConfig message;

  const absl::Status status = ParseJson(
      R"({"weight_names": {"renamed": {"q_proj": "query"}, "transposd": true}})",
      &message);

  EXPECT_THAT(std::string(status.message()),
              HasSubstr("WeightNames has no field 'transposd'; did you mean "
                        "'transposed'?"));
}

TEST(JsonTest, SaysWhereAValueDoesNotFit) {
  EXPECT_THAT(
      TextOfMistake(R"({"config": {"multi_head_attention": {"bias": 3}}})"),
      AllOf(HasSubstr("StoredModuleConfig"), HasSubstr("bias")));
}

TEST(JsonTest, RefusesWhatIsNoJson) {
  v1::StoredModuleConfig message;

  EXPECT_EQ(ParseJson("{", &message).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attention
