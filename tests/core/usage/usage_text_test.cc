// SPDX-License-Identifier: Apache-2.0
#include "core/usage/usage_text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace attention {
namespace {

const std::vector<std::string> kCommands = {"modules", "forward", "health",
                                            "bench"};

TEST(UsageTextTest, NearestNameForgivesSlips) {
  EXPECT_EQ(NearestName("moduls", kCommands), "modules");
  EXPECT_EQ(NearestName("module", kCommands), "modules");
  EXPECT_EQ(NearestName("mdoules", kCommands), "modules");
  EXPECT_EQ(NearestName("forwards", kCommands), "forward");
  EXPECT_EQ(NearestName("Health", kCommands), "health");
  EXPECT_EQ(NearestName("becnh", kCommands), "bench");
}

TEST(UsageTextTest, NearestNamePrefersTheLeastDistance) {
  EXPECT_EQ(NearestName("--rat",
                        std::vector<std::string>{"--rate-x", "--rate", "--ra"}),
            "--rate");
}

TEST(UsageTextTest, NearestNameDoesNotGuessWildly) {
  EXPECT_EQ(NearestName("serve", kCommands), "");
  EXPECT_EQ(NearestName("", kCommands), "");
  EXPECT_EQ(NearestName("x", kCommands), "");
  EXPECT_EQ(NearestName(std::string(1'000'000, 'x'), kCommands), "");
  EXPECT_EQ(NearestName("modules", {}), "");
}

TEST(UsageTextTest, DidYouMeanIsEmptyWithoutANearName) {
  EXPECT_EQ(DidYouMean("moduls", kCommands), "; did you mean 'modules'?");
  EXPECT_EQ(DidYouMean("serve", kCommands), "");
}

TEST(UsageTextTest, ListsReadAsASentence) {
  EXPECT_EQ(OneOf(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(OneOf(std::vector<std::string>{"a", "b"}), "a or b");
  EXPECT_EQ(OneOf(kCommands), "modules, forward, health or bench");
}

TEST(UsageTextTest, ChoiceNamesTheWordAndTheAcceptedOnes) {
  EXPECT_EQ(CheckChoice("bench", kCommands), "");
  EXPECT_EQ(CheckChoice("left", std::vector<std::string>{"top-left", "none"}),
            "got 'left', expected top-left or none");
}

TEST(UsageTextTest, WholeNumbersAreCheckedToTheirLimits) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

  EXPECT_EQ(CheckNumber<std::int64_t>("7", 1, 7), "");
  EXPECT_EQ(CheckNumber<std::uint64_t>("18446744073709551615", 0, kMost), "");
  for (const char* const word :
       {"", "0", "8", "-1", "x", "7x", " 7", "1.5", "18446744073709551616"}) {
    EXPECT_EQ(
        CheckNumber<std::int64_t>(word, 1, 7),
        "got '" + std::string(word) + "', expected a whole number from 1 to 7");
  }
}

TEST(UsageTextTest, NumbersThatAreNoneAreInNoRange) {
  EXPECT_EQ(CheckNumber("0.5", 0.01, 1e6), "");
  EXPECT_EQ(CheckNumber("1e3", 0.01, 1e6), "");
  for (const char* const word : {"nan", "-nan", "inf", "0", "1e9", "1,5"}) {
    EXPECT_EQ(CheckNumber(word, 0.01, 1e6),
              "got '" + std::string(word) +
                  "', expected a number from 0.01 to 1000000")
        << word;
  }
}

TEST(UsageTextTest, SwitchesTakeTrueAndFalseOnly) {
  EXPECT_EQ(CheckSwitch("true"), "");
  EXPECT_EQ(CheckSwitch("0"), "");
  EXPECT_EQ(CheckSwitch("maybe"),
            "got 'maybe', expected no value, true or false");
}

}  // namespace
}  // namespace attention
