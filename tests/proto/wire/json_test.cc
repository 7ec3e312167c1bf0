// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "attention/v1/repository.pb.h"

namespace attention {
namespace {

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

TEST(JsonTest, RefusesWhatIsNoJson) {
  v1::StoredModuleConfig message;

  EXPECT_EQ(ParseJson("{", &message).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attention
