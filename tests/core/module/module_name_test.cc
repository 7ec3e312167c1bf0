// SPDX-License-Identifier: Apache-2.0
#include "core/module/module_name.h"

#include <gtest/gtest.h>

#include <string>

namespace attention {
namespace {

class ValidName : public ::testing::TestWithParam<std::string> {};
class InvalidName : public ::testing::TestWithParam<std::string> {};

TEST_P(ValidName, IsAccepted) {
  EXPECT_TRUE(ValidateModuleName(GetParam()).ok());
}

INSTANTIATE_TEST_SUITE_P(ModuleNameTest, ValidName,
                         ::testing::Values("a", "0", "encoder.layers.0_x-y",
                                           "A..b", std::string(128, 'z')));

TEST_P(InvalidName, IsRefused) {
  const absl::Status status = ValidateModuleName(GetParam());

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(status.message().size(), 500U);
}

INSTANTIATE_TEST_SUITE_P(ModuleNameTest, InvalidName,
                         ::testing::Values("", ".", "..", "../x", "a/b", "/a",
                                           ".hidden", "-a", "_a", "a b", "a\n",
                                           std::string("a\0b", 3), "\xC3\xA4",
                                           "a\\b", std::string(129, 'z'),
                                           std::string(10'000, 'z')));

}  // namespace
}  // namespace attention
