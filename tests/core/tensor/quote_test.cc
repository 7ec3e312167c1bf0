// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/quote.h"

#include <gtest/gtest.h>

#include <string>

namespace attention {
namespace {

TEST(QuoteTest, KeepsPrintableText) {
  EXPECT_EQ(Quote("a.weight 1"), "'a.weight 1'");
}

TEST(QuoteTest, EscapesTheRest) {
  EXPECT_EQ(Quote("a\n'\\\xC3\x7F"), R"('a\x0a\x27\x5c\xc3\x7f')");
}

TEST(QuoteTest, CutsLongText) {
  EXPECT_EQ(Quote(std::string(10'000, 'x')),
            "'" + std::string(64, 'x') + "'... (10000 bytes)");
}

}  // namespace
}  // namespace attention
