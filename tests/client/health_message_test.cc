// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/health_message.h"

#include <gtest/gtest.h>

namespace attention {
namespace {

using namespace std::string_literals;

TEST(HealthMessageTest, EncodesServiceAsFieldOne) {
  EXPECT_EQ(EncodeHealthCheckRequest("abc"), "\x0A\x03"s + "abc");
}

TEST(HealthMessageTest, ReadsStatusAndSkipsUnknownFields) {
  EXPECT_EQ(*DecodeHealthCheckResponse("\x12\x01x\x08\x02"s), 2);
}

TEST(HealthMessageTest, ReadsEmptyMessageAsUnknown) {
  EXPECT_EQ(*DecodeHealthCheckResponse(""), 0);
}

TEST(HealthMessageTest, RejectsTruncatedMessages) {
  for (const std::string& message : {"\x08"s, "\x08\x80"s, "\x12\x05x"s}) {
    EXPECT_EQ(DecodeHealthCheckResponse(message).status().code(),
              absl::StatusCode::kInternal);
  }
}

}  // namespace
}  // namespace attention
