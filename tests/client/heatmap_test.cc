// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "client/cpp/cli/color_map.h"
#include "client/cpp/cli/heatmap_html.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

WeightsPanel MakePanel(std::size_t rows, std::size_t columns,
                       std::vector<double> values) {
  return {.title = "head 0",
          .num_rows = rows,
          .num_columns = columns,
          .values = std::move(values)};
}

// Weights 0, 1, 2, ... of this shape.
Tensor MakeWeights(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.num_elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i);
  }
  Tensor tensor(DataType::kFloat32, shape);
  StoreReals(values.data(), values.size(), DataType::kFloat32,
             tensor.mutable_view().data);
  return tensor;
}

TEST(HeatmapTest, DrawsPlainShadesFromZeroToMaximum) {
  EXPECT_EQ(RenderHeatmap(MakePanel(2, 2, {0.0, 0.25, 0.125, 0.25}), {}),
            "head 0 (rows: 2 queries, columns: 2 keys)\n"
            "  |  @@|\n"
            "  |++@@|\n"
            "  0   ..::--++**##%%@@ 0.25\n");
}

TEST(HeatmapTest, DrawsUnicodeShades) {
  const std::string text = RenderHeatmap(MakePanel(1, 2, {0.0, 1.0}),
                                         {.style = HeatmapStyle::kShades});

  EXPECT_THAT(text, HasSubstr("|  ██|"));
}

TEST(HeatmapTest, DrawsColors) {
  const std::string text = RenderHeatmap(MakePanel(1, 2, {0.0, 1.0}),
                                         {.style = HeatmapStyle::kColor});

  EXPECT_THAT(text, HasSubstr("\x1b[48;2;68;1;84m  \x1b[0m"
                              "\x1b[48;2;253;231;37m  \x1b[0m"));
}

TEST(HeatmapTest, PlainStyleIsAscii) {
  for (const char character :
       RenderHeatmap(MakePanel(1, 3, {0.0, 0.5, kNaN}), {})) {
    EXPECT_TRUE(character == '\n' || (character >= ' ' && character <= '~'));
  }
}

TEST(HeatmapTest, ShowsNaN) {
  EXPECT_THAT(RenderHeatmap(MakePanel(1, 2, {kNaN, 1.0}), {}),
              HasSubstr("|??@@|"));
}

TEST(HeatmapTest, DrawsPanelsWithoutWeights) {
  EXPECT_THAT(RenderHeatmap(MakePanel(2, 0, {}), {}), HasSubstr("0 keys"));
  EXPECT_THAT(RenderHeatmap(MakePanel(0, 2, {}), {}), HasSubstr("0 queries"));
  EXPECT_THAT(RenderHeatmap(MakePanel(1, 1, {0.0}), {}), HasSubstr("|  |"));
}

TEST(HeatmapTest, SaysWhenItShrinksAPanel) {
  const std::string text =
      RenderHeatmap(MakePanel(4, 4, std::vector<double>(16, 1.0)),
                    {.max_rows = 2, .max_columns = 4});

  EXPECT_THAT(text, HasSubstr("shown as 2 x 4 cells, each the mean of about "
                              "2.0 x 1.0 weights"));
}

TEST(SubsampleTest, TakesMeansOfBlocks) {
  const WeightsPanel small =
      Subsample(MakePanel(2, 4, {0, 2, 4, 6, 8, 10, 12, 14}), 1, 2);

  EXPECT_EQ(small.num_rows, 1U);
  EXPECT_EQ(small.num_columns, 2U);
  EXPECT_THAT(small.values, testing::ElementsAre(5.0, 9.0));
}

TEST(SubsampleTest, CoversEveryElementOfUnevenBlocks) {
  const WeightsPanel small = Subsample(MakePanel(1, 5, {1, 2, 3, 4, 5}), 1, 2);

  EXPECT_THAT(small.values, testing::ElementsAre(1.5, 4.0));
}

TEST(SubsampleTest, IgnoresNaNUnlessABlockHasNothingElse) {
  const WeightsPanel small =
      Subsample(MakePanel(1, 4, {kNaN, 2, kNaN, kNaN}), 1, 2);

  EXPECT_EQ(small.values[0], 2.0);
  EXPECT_TRUE(std::isnan(small.values[1]));
}

TEST(SelectPanelsTest, TakesEachHeadOfTheFirstSequences) {
  const Tensor weights = MakeWeights(Shape{3, 2, 1, 2});

  const Panels panels = SelectPanels(
      weights.view(), {.batched = true, .per_head = true, .max_sequences = 2});

  EXPECT_EQ(panels.num_available, 6U);
  ASSERT_EQ(panels.panels.size(), 4U);
  EXPECT_EQ(panels.panels[3].title, "sequence 1, head 1");
  EXPECT_THAT(panels.panels[3].values, testing::ElementsAre(6.0, 7.0));
}

TEST(SelectPanelsTest, TakesAveragedAndUnbatchedWeights) {
  const Tensor weights = MakeWeights(Shape{2, 2});

  const Panels panels =
      SelectPanels(weights.view(), {.batched = false, .per_head = false});

  ASSERT_EQ(panels.panels.size(), 1U);
  EXPECT_EQ(panels.panels[0].title, "mean over heads");
  EXPECT_EQ(panels.panels[0].max(), 3.0);
}

TEST(ColorMapTest, InterpolatesAndClamps) {
  EXPECT_EQ(ColorOf(-1.0).red, 68);
  EXPECT_EQ(ColorOf(2.0).red, 253);
  EXPECT_EQ(ColorOf(1.0 / 16.0).red, 70);
}

TEST(HeatmapPageTest, EmbedsDataAndLoadsNothing) {
  const Panels panels = {{MakePanel(1, 2, {0.25, kNaN})}, 1};

  const std::string page = RenderHeatmapPage("title", panels);

  EXPECT_THAT(page, HasSubstr("\"values\":[0.25,null]"));
  for (const char* const loader :
       {"http:", "https:", "src=", "href=", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(loader)));
  }
}

TEST(HeatmapPageTest, EscapesTitle) {
  const std::string page = RenderHeatmapPage("<b>&\"", {{}, 0});

  EXPECT_THAT(page, HasSubstr("<h1>&lt;b&gt;&amp;&quot;</h1>"));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
}

TEST(HeatmapPageTest, ShrinksLargePanelsAndSaysWhatIsLeftOut) {
  const std::size_t side = 2 * kMaxHtmlPanelSide;
  const Panels panels = {
      {MakePanel(side, side, std::vector<double>(side * side, 1.0))}, 5};

  const std::string page = RenderHeatmapPage("title", panels);

  EXPECT_THAT(page, HasSubstr("the first 1 of 5 matrices"));
  EXPECT_THAT(page, HasSubstr("\"rows\":256,\"columns\":256,"
                              "\"totalRows\":512"));
}

}  // namespace
}  // namespace attention
