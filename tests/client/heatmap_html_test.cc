// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap_html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <format>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "client/cpp/cli/tensor_files.h"
#include "core/tensor/convert.h"
#include "tests/client/temp_folder.h"

namespace attention {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Tensor MakeWeights(const Shape& shape, const std::vector<double>& values) {
  Tensor tensor(DataType::kFloat64, shape);
  StoreReals(values.data(), values.size(), DataType::kFloat64,
             tensor.mutable_view().data);
  return tensor;
}

Tensor MakeWeights(const Shape& shape, double value) {
  return MakeWeights(
      shape, std::vector<double>(static_cast<std::size_t>(shape.num_elements()),
                                 value));
}

std::string MakePage(const Tensor& weights, const HeatmapLabels& labels = {},
                     std::string_view title = "title") {
  return RenderHeatmapPage(
      title, WeightsPanels(weights.view(), /*per_head=*/true), labels);
}

// What read_heatmap_page.js finds on a page after these actions.
json Open(const std::string& page, const std::string& actions = "") {
  const TempFolder folder;
  const std::string path = folder / "page.html";
  EXPECT_TRUE(WriteTextFile(path, page).ok());
  const std::string command = std::format("qjs --module {} {} {}",
                                          ATTENTION_PAGE_READER, path, actions);
  std::FILE* const output = popen(command.c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer = {};
  while (const std::size_t size =
             std::fread(buffer.data(), 1, buffer.size(), output)) {
    text.append(buffer.data(), size);
  }
  EXPECT_EQ(pclose(output), 0) << command;
  const json found = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return found.is_object() ? found : json::object();
}

TEST(HeatmapPageTest, LoadsNothing) {
  const std::string page = MakePage(MakeWeights(Shape{1, 1, 2}, 0.5));

  for (const char* const loader :
       {"http:", "https:", "src=", "href=", "url(", "@import", "{{"}) {
    EXPECT_FALSE(absl::StrContains(page, loader)) << loader;
  }
  EXPECT_TRUE(absl::StrContains(
      page, "Content-Security-Policy\" content=\"default-src 'none';"));
}

TEST(HeatmapPageTest, NoTextBecomesMarkup) {
  const std::string hostile =
      "</script><script>alert(1)</script><!-- <script> <b>&\" {{script}} \xff";

  const std::string page = MakePage(MakeWeights(Shape{1, 1, 1}, 1.0),
                                    {{{hostile}}, {{hostile}}}, hostile);
  const json found = Open(page, "'key Home'");

  EXPECT_FALSE(absl::StrContains(page, "<b>"));
  EXPECT_FALSE(absl::StrContains(page, "<!--"));
  EXPECT_EQ(found.value("scripts", 0), 2);
  const std::string shown = found.value("title", "");
  EXPECT_EQ(shown, hostile.substr(0, hostile.size() - 1) + "\ufffd");
  EXPECT_EQ(found.value("documentTitle", ""), shown);
  EXPECT_THAT(found.value("readout", ""), HasSubstr(shown));
}

TEST(HeatmapPageTest, ReadsCellsByMouseAndKeyboard) {
  const std::string page = MakePage(
      MakeWeights(Shape{1, 2, 3}, {0.1234567, 0.25, 1e-6, kNaN, 0.5, 1.0}),
      {{{"the", "cat"}}, {{"le", "ch\u202eat", "\n"}}});

  EXPECT_EQ(Open(page).value("readout", "?"), "");
  EXPECT_EQ(Open(page, "'point 0.1 0.2'").value("readout", ""),
            "query 0 \u201c\u2068the\u2069\u201d, "
            "key 0 \u201c\u2068le\u2069\u201d: 0.123");
  EXPECT_EQ(Open(page, "'point 0.9 0.2'").value("readout", ""),
            "query 0 \u201c\u2068the\u2069\u201d, "
            "key 2 \u201c\u2068\\n\u2069\u201d: 1.01e-6");
  EXPECT_EQ(Open(page, "'key ArrowDown'").value("readout", ""),
            "query 1 \u201c\u2068cat\u2069\u201d, "
            "key 0 \u201c\u2068le\u2069\u201d: NaN");
  const json moved =
      Open(page, "'key End' 'key ArrowDown' 'key ArrowDown' 'key ArrowLeft'");
  EXPECT_EQ(moved.value("readout", ""),
            "query 1 \u201c\u2068cat\u2069\u201d, "
            "key 1 \u201c\u2068ch\\u202eat\u2069\u201d: 0.5");
  EXPECT_THAT(moved.value("current", json()),
              ElementsAre("1 \u2068cat\u2069", "1 \u2068ch\\u202eat\u2069"));
  EXPECT_EQ(Open(page, "'key Home' 'key Escape'").value("readout", "?"), "");
}

TEST(HeatmapPageTest, ShowsEveryHeadOnOneScale) {
  const std::string page =
      MakePage(MakeWeights(Shape{2, 2, 1, 1}, {0.0, 0.25, 0.5, kNaN}));

  const json first = Open(page);
  EXPECT_EQ(first.value("summary", ""),
            "4 matrices of 1 queries (rows) \u00d7 1 keys (columns), on one "
            "scale.");
  EXPECT_EQ(first.value("end", ""), "0.5");
  EXPECT_TRUE(first.value("showsNaN", false));
  EXPECT_THAT(first.value("headings", json()),
              ElementsAre("sequence 0", "sequence 1"));
  EXPECT_THAT(first.value("buttons", json()),
              ElementsAre("head 0", "head 1", "head 0", "head 1"));
  EXPECT_EQ(first.value("firstColor", ""), "68,1,84");

  const json third = Open(page, "'click 2'");
  EXPECT_EQ(third.value("panel", ""), "sequence 1, head 0");
  EXPECT_EQ(third.value("firstColor", ""), "253,231,37");
  EXPECT_THAT(third.value("pressed", json()),
              ElementsAre("false", "false", "true", "false"));

  const json second = Open(page, "'click 2' 'key PageUp'");
  EXPECT_EQ(second.value("panel", ""), "sequence 0, head 1");
  EXPECT_EQ(second.value("firstColor", ""), "33,144,141");
  const json last = Open(page, "'click 2' 'key PageDown' 'key PageDown'");
  EXPECT_EQ(last.value("firstColor", ""), "214,69,65");
  EXPECT_EQ(last.value("notes", ""), "Queries that see no key (NaN): 0.");
}

TEST(HeatmapPageTest, BringsOutSmallWeights) {
  const std::string page =
      MakePage(MakeWeights(Shape{2, 1, 1}, {0.0625, 0.25}));

  const json linear = Open(page);
  const json root = Open(page, "root");

  EXPECT_EQ(linear.value("middle", ""), "0.125");
  EXPECT_EQ(linear.value("firstColor", ""), "59,81,139");
  EXPECT_EQ(root.value("middle", ""), "0.0625");
  EXPECT_EQ(root.value("firstColor", ""), "33,144,141");
  EXPECT_EQ(root.value("end", ""), "0.25");
}

TEST(HeatmapPageTest, ASingleMatrixNeedsNoOverview) {
  const json found = Open(MakePage(MakeWeights(Shape{1, 1, 1}, 0.0)));

  EXPECT_FALSE(found.value("showsOverview", true));
  EXPECT_FALSE(found.value("showsNaN", true));
  EXPECT_EQ(found.value("panel", ""), "head 0");
}

TEST(HeatmapPageTest, LabelsEveryTokenWhereThereIsRoom) {
  std::vector<std::string> tokens;
  for (int i = 0; i < 20; ++i) tokens.push_back(std::format("token{}", i));

  const json found =
      Open(MakePage(MakeWeights(Shape{1, 20, 20}, 0.5), {{tokens}, {tokens}}));

  EXPECT_EQ(found.value("rowTicks", json()), json(tokens));
  EXPECT_EQ(found.value("columnTicks", json()), json(tokens));
  // Cells are squares of whole pixels.
  EXPECT_EQ(found.value("width", 0) % 20, 0);
  EXPECT_EQ(found.value("width", 0), found.value("height", 1));
}

TEST(HeatmapPageTest, ThinsAndNumbersLabelsOf512Tokens) {
  const std::vector<std::string> tokens(512, "a token that is far too long");

  const json found = Open(
      MakePage(MakeWeights(Shape{1, 512, 512}, 0.5), {{tokens}, {tokens}}));

  const json ticks = found.value("rowTicks", json());
  EXPECT_THAT(ticks, SizeIs(26));  // 512 pixels, 20 for a label
  EXPECT_EQ(ticks[1], "20 \u2068a token that \u2026\u2069");
  EXPECT_EQ(found.value("columnTicks", json()), ticks);
  EXPECT_EQ(found.value("notes", "?"), "");
}

TEST(HeatmapPageTest, KeepsTheBrightestWhereCellsAreSmallerThanPixels) {
  std::vector<double> values(3000, 0.0);
  values[1501] = 1.0;  // wider than the page has pixels: several in each

  const std::string page = MakePage(MakeWeights(Shape{1, 1, 3000}, values));
  const std::string tall = MakePage(MakeWeights(Shape{1, 3000, 1}, 1.0));

  EXPECT_LT(Open(page).value("width", 0), 3000);
  EXPECT_EQ(Open(page, "'point 0.50035 0.5'").value("readout", ""),
            "query 0, key 1501: 1");
  EXPECT_EQ(Open(tall).value("firstColor", ""), "253,231,37");
}

TEST(HeatmapPageTest, TwelveHeadsOf512TokensStayWhole) {
  const std::string page = MakePage(MakeWeights(Shape{1, 12, 512, 512}, 0.5));

  EXPECT_LT(page.size(), 9'000'000U);
  EXPECT_TRUE(absl::StrContains(
      page, R"("rows":512,"sequence":0,"title":"sequence 0, head 11")"));
}

TEST(HeatmapPageTest, ShrinksWhatIsTooMuch) {
  const std::string page = MakePage(MakeWeights(Shape{1, 4097, 2049}, 0.5));

  EXPECT_LT(page.size(), 23'000'000U);
  EXPECT_TRUE(absl::StrContains(page, R"("panels":[{"columns":2049,)"));
  EXPECT_TRUE(absl::StrContains(page, R"("rows":2049,"sequence":0)"));
  EXPECT_TRUE(absl::StrContains(page, R"("rows":4097,"title":"title")"));
}

TEST(HeatmapPageTest, SaysWhenACellIsABlock) {
  std::string page = MakePage(MakeWeights(Shape{1, 3, 2}, 0.5));
  // As if the three rows of cells were of five queries.
  page = absl::StrReplaceAll(page,
                             {{R"("rows":3,"title")", R"("rows":5,"title")"}});

  const json found = Open(page, "'key ArrowDown' 'key ArrowDown'");

  EXPECT_EQ(found.value("notes", ""),
            "Stored as 3 \u00d7 2 cells, each the largest of up to 2 \u00d7 1 "
            "weights.");
  EXPECT_EQ(found.value("readout", ""), "query 3\u20134, key 0: 0.5");
}

TEST(HeatmapPageTest, LeavesOutWhatIsTooMany) {
  const std::string page =
      MakePage(MakeWeights(Shape{kMaxHtmlPanels + 1, 1, 1, 1}, 0.5));

  EXPECT_TRUE(absl::StrContains(page, R"("available":1025,)"));
  EXPECT_TRUE(absl::StrContains(page, R"("title":"sequence 1023, head 0")"));
  EXPECT_FALSE(absl::StrContains(page, R"("title":"sequence 1024, head 0")"));
}

TEST(HeatmapPageTest, SaysWhatIsLeftOut) {
  const std::string page =
      absl::StrReplaceAll(MakePage(MakeWeights(Shape{2, 1, 1}, 0.5)),
                          {{R"("available":2,)", R"("available":5,)"}});

  EXPECT_THAT(Open(page).value("summary", ""),
              HasSubstr("the first 2 of 5 matrices"));
}

TEST(HeatmapPageTest, HasPlaceForNoWeights) {
  for (const Shape& shape :
       {Shape{0, 1, 1, 1}, Shape{1, 0, 2}, Shape{1, 2, 0}}) {
    EXPECT_EQ(Open(MakePage(MakeWeights(shape, 0.0))).value("title", ""),
              "title");
  }
}

}  // namespace
}  // namespace attention
