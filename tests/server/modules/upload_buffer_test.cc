// SPDX-License-Identifier: Apache-2.0
#include "server/modules/upload_buffer.h"

#include <gtest/gtest.h>

#include <string>

#include "core/tensor/status_text.h"

namespace attention {
namespace {

TEST(UploadBufferTest, JoinsWhatIsAppended) {
  AdmissionController budget(1000);
  UploadBuffer buffer(1000, budget.Reserve(0).value());

  for (const char* piece : {"ab", "", "cde", "f"}) {
    ASSERT_TRUE(buffer.Append(piece).ok());
  }

  const auto bytes = buffer.bytes();
  EXPECT_EQ(
      std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
      "abcdef");
}

TEST(UploadBufferTest, HoldsAsMuchAsTheLimit) {
  AdmissionController budget(1000);
  UploadBuffer buffer(10, budget.Reserve(0).value());
  ASSERT_TRUE(buffer.Append("0123456789").ok());

  const absl::Status status = buffer.Append("x");

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(StatusText(status).ends_with("(--max-module-bytes)"));
  EXPECT_FALSE(IsOverload(status));
  EXPECT_EQ(buffer.bytes().size(), 10U);
}

TEST(UploadBufferTest, SharesItsBudget) {
  AdmissionController budget(10);
  UploadBuffer first(10, budget.Reserve(0).value());
  UploadBuffer second(10, budget.Reserve(0).value());
  ASSERT_TRUE(first.Append("012345").ok());

  EXPECT_TRUE(IsOverload(second.Append("01234")));
}

}  // namespace
}  // namespace attention
