// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/text_cells.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attention {
namespace {

using namespace std::string_literals;

std::string Joined(const std::vector<TextCell>& cells) {
  std::string text;
  for (const TextCell& cell : cells) text += cell.text;
  return text;
}

TEST(CellsOfTest, KnowsWidths) {
  EXPECT_EQ(WidthOf(CellsOf("cat")), 3U);
  EXPECT_EQ(WidthOf(CellsOf("Ġcat")), 4U);
  EXPECT_EQ(WidthOf(CellsOf("猫です")), 6U);
  EXPECT_EQ(WidthOf(CellsOf("고양이")), 6U);
  EXPECT_EQ(WidthOf(CellsOf("ﾈｺ")), 2U);
  EXPECT_EQ(WidthOf(CellsOf("🐈")), 2U);
  EXPECT_EQ(WidthOf(CellsOf("")), 0U);
}

TEST(CellsOfTest, KeepsMarksWithTheirCharacter) {
  const std::vector<TextCell> cells = CellsOf("e\u0301\u0323x");

  ASSERT_EQ(cells.size(), 2U);
  EXPECT_EQ(cells[0].text, "e\u0301\u0323");
  EXPECT_EQ(cells[0].width, 1U);
}

TEST(CellsOfTest, PutsALoneMarkOnACircle) {
  EXPECT_EQ(Joined(CellsOf("\u0301")), "\u25cc\u0301");
}

TEST(CellsOfTest, EscapesWhatIsNotSeen) {
  EXPECT_EQ(Joined(CellsOf("a\n\r\t\x1b[0m\x7f"s)),
            "a\\n\\r\\t\\u001b[0m\\u007f");
  EXPECT_EQ(Joined(CellsOf("\0"s)), "\\u0000");
  EXPECT_EQ(Joined(CellsOf("\u202egnp.exe\u200b\ufeff\u2028")),
            "\\u202egnp.exe\\u200b\\ufeff\\u2028");
  EXPECT_EQ(Joined(CellsOf("\u0085\U000e0041")), "\\u0085\\U000e0041");
}

TEST(CellsOfTest, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(Joined(CellsOf("a\xff"
                           "b\xc3")),
            "a\ufffd"
            "b\ufffd");
  EXPECT_EQ(Joined(CellsOf("\xed\xa0\x80\xc0\xaf")),
            "\ufffd\ufffd\ufffd\ufffd\ufffd");
}

TEST(ElideTest, CutsToTheWidth) {
  EXPECT_EQ(Joined(Elide(CellsOf("label"), 5, "…")), "label");
  EXPECT_EQ(Joined(Elide(CellsOf("labels"), 5, "…")), "labe…");
  EXPECT_EQ(Joined(Elide(CellsOf("猫猫猫"), 5, "…")), "猫猫…");
  EXPECT_EQ(Joined(Elide(CellsOf("猫猫猫"), 4, "…")), "猫…");
}

TEST(AlignTest, FillsWithSpaces) {
  EXPECT_EQ(AlignRight(CellsOf("猫"), 4), "  猫");
  EXPECT_EQ(AlignLeft(CellsOf("猫"), 4), "猫  ");
  EXPECT_EQ(AlignLeft(CellsOf("label"), 4), "label");
}

TEST(AlignTest, EndsRightToLeftTextWithAMark) {
  EXPECT_EQ(AlignRight(CellsOf("שלום"), 5), " שלום\u200e");
  EXPECT_EQ(AlignLeft(CellsOf("م"), 2), "م\u200e ");
  EXPECT_EQ(AlignLeft(CellsOf("a"), 2), "a ");
}

}  // namespace
}  // namespace attention
