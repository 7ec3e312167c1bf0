// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/format_text.h"

#include <gtest/gtest.h>

#include <format>
#include <string>
#include <string_view>

namespace attention {
namespace {

TEST(FormatTextTest, FormatsAsTheLibraryDoes) {
  const std::string name = "query";
  const std::string_view dtype = "float32";

  EXPECT_EQ(FormatText("{}: {} of {:>4}, {:.2f}, {:#x}, {}", name, dtype, 3,
                       0.125, 255U, 'c'),
            std::format("{}: {} of {:>4}, {:.2f}, {:#x}, {}", name, dtype, 3,
                        0.125, 255U, 'c'));
}

TEST(FormatTextTest, TakesTextWithoutArguments) {
  EXPECT_EQ(FormatText("100 % {{}}"), "100 % {}");
}

}  // namespace
}  // namespace attention
