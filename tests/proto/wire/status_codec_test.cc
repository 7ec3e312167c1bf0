// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/status_codec.h"

#include <gtest/gtest.h>

#include <string>

namespace attention {
namespace {

class StatusCodeTest : public ::testing::TestWithParam<int> {};

TEST_P(StatusCodeTest, SurvivesTheWayThereAndBack) {
  const absl::Status status(static_cast<absl::StatusCode>(GetParam()), "why");

  EXPECT_EQ(ToGrpcStatus(status).error_code(), GetParam());
  EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
}

INSTANTIATE_TEST_SUITE_P(AllErrors, StatusCodeTest, ::testing::Range(1, 17));

TEST(StatusCodecTest, KeepsOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusCodecTest, MakesUnknownCodesUnknown) {
  EXPECT_EQ(FromGrpcStatus({grpc::StatusCode::DO_NOT_USE, "why"}).code(),
            absl::StatusCode::kUnknown);
}

TEST(StatusCodecTest, ReplacesBytesThatAreNotUtf8) {
  const absl::Status status =
      absl::InternalError("a\xFF\xC3\xA9\xC0\x80\xED\xA0\x80z");

  EXPECT_EQ(ToGrpcStatus(status).error_message(), "a?\xC3\xA9?????z");
}

TEST(StatusCodecTest, CutsLongTextsBetweenCharacters) {
  std::string text(999, 'a');
  text += "\xC3\xA9";

  EXPECT_EQ(ToGrpcStatus(absl::InternalError(text)).error_message(),
            std::string(999, 'a'));
}

}  // namespace
}  // namespace attention
