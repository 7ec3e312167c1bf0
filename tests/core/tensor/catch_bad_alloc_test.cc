// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/catch_bad_alloc.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attention {
namespace {

TEST(CatchBadAllocTest, ReturnsWhatTheBodyReturns) {
  const absl::StatusOr<int> seven =
      CatchBadAlloc([]() -> absl::StatusOr<int> { return 7; });

  ASSERT_TRUE(seven.ok()) << seven.status();
  EXPECT_EQ(*seven, 7);
}

TEST(CatchBadAllocTest, SaysThatMemoryIsExhausted) {
  const absl::Status no_memory =
      CatchBadAlloc([]() -> absl::Status { throw std::bad_alloc(); });
  const absl::StatusOr<int> too_long = CatchBadAlloc(
      []() -> absl::StatusOr<int> { throw std::length_error("too long"); });

  EXPECT_EQ(no_memory, absl::ResourceExhaustedError("memory is exhausted"));
  EXPECT_EQ(too_long.status(), no_memory);
}

}  // namespace
}  // namespace attention
