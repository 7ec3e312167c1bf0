// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "client/cpp/cli/color_map.h"
#include "client/cpp/cli/heatmap_terminal.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

WeightsPanel MakePanel(std::size_t rows, std::size_t columns,
                       std::vector<double> values) {
  return {.title = "head 0",
          .head = "head 0",
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
            "  0 |  @@|\n"
            "  1 |++@@|\n"
            "     0 1\n"
            "  0   ..::--++**##%%@@ 0.25\n");
}

TEST(HeatmapTest, DrawsUnicodeShades) {
  const std::string text =
      RenderHeatmap(MakePanel(1, 2, {0.0, 1.0}),
                    {.terminal = {.style = HeatmapStyle::kShades}});

  EXPECT_THAT(text, HasSubstr("|  ██|"));
}

TEST(HeatmapTest, DrawsColors) {
  const std::string text =
      RenderHeatmap(MakePanel(1, 3, {0.0, 1.0, kNaN}),
                    {.terminal = {.style = HeatmapStyle::kColor}});

  EXPECT_THAT(text, HasSubstr("\x1b[48;2;68;1;84m  \x1b[0m"
                              "\x1b[48;2;253;231;37m  \x1b[0m"
                              "\x1b[97;48;2;214;69;65m??\x1b[0m"));
}

TEST(HeatmapTest, ScaleIsTheGivenOne) {
  const std::string text =
      RenderHeatmap(MakePanel(1, 2, {0.25, 0.5}), {.max = 0.5 * 9 / 8});

  EXPECT_THAT(text, HasSubstr("|==%%|"));
  EXPECT_THAT(text, HasSubstr("@@ 0.5625\n"));
}

TEST(HeatmapTest, LabelsRowsAndColumns) {
  const std::string text =
      RenderHeatmap(MakePanel(2, 3, {0, 0, 1, 1, 0, 0}),
                    {.query_labels = {"the", "cat"},
                     .key_labels = {"le", "chat", "a very long label"}});

  EXPECT_THAT(text, HasSubstr("  the |    @@|\n"
                              "  cat |@@    |\n"
                              "       l c a\n"
                              "       e h\n"
                              "         a v\n"
                              "         t e\n"
                              "           r\n"
                              "           y\n"
                              "\n"
                              "           l\n"
                              "           o\n"
                              "           ~\n"));
}

TEST(HeatmapTest, AlignsWideCombiningAndHostileLabels) {
  const std::string text =
      RenderHeatmap(MakePanel(4, 1, {0, 0, 0, 1}),
                    {.query_labels = {"猫", "e\u0301", "\x1b[2J\n",
                                      "Donaudampfschifffahrt"}});

  EXPECT_THAT(text, HasSubstr("                猫 |  |\n"
                              "                 e\u0301 |  |\n"
                              "       \\u001b[2J\\n |  |\n"
                              "  Donaudampfschif~ |@@|\n"));
}

TEST(HeatmapTest, NumbersKeysThatAreTooManyForLabels) {
  const std::vector<std::string> labels(100, "key");

  const std::string text =
      RenderHeatmap(MakePanel(1, 100, std::vector<double>(100, 1.0)),
                    {.terminal = {.width = 46}, .key_labels = labels});

  EXPECT_THAT(text, HasSubstr("     0   10  20  30  40  50  60  70  80  90\n"));
}

TEST(HeatmapTest, NumbersRowsOfSeveralQueriesByTheFirst) {
  const std::string text =
      RenderHeatmap(MakePanel(4, 1, {0, 0, 1, 0}),
                    {.max_rows = 2, .query_labels = {"a", "b", "c", "d"}});

  EXPECT_THAT(text, HasSubstr("  0 a |  |\n  2 c |@@|\n"));
}

TEST(HeatmapTest, KeepsToTheWidthOfTheTerminal) {
  for (const std::size_t width : {20U, 40U, 80U, 200U}) {
    const std::string text = RenderHeatmap(
        MakePanel(1, 300, std::vector<double>(300, 1.0)),
        {.terminal = {.width = width}, .query_labels = {"a long label"}});

    const std::size_t start = text.find('\n') + 1;
    EXPECT_LE(text.find('\n', start) - start, width);
    EXPECT_GE(text.find('\n', start) - start + 2, width);
  }
}

TEST(HeatmapTest, PlainStyleIsAscii) {
  for (const char character :
       RenderHeatmap(MakePanel(1, 3, {0.0, 0.5, kNaN}), {})) {
    EXPECT_TRUE(character == '\n' || (character >= ' ' && character <= '~'));
  }
}

TEST(HeatmapTest, ShowsNaN) {
  const std::string text = RenderHeatmap(MakePanel(1, 2, {kNaN, 1.0}), {});

  EXPECT_THAT(text, HasSubstr("|??@@|"));
  EXPECT_THAT(text, HasSubstr("?? NaN"));
}

TEST(HeatmapTest, NamesQueriesThatSeeNoKey) {
  std::vector<double> values(40, kNaN);
  values[2] = values[3] = values[9] = 1.0;  // rows 1 and 4

  const std::string text = RenderHeatmap(MakePanel(20, 2, values), {});

  EXPECT_THAT(text, HasSubstr("queries that see no key (NaN): 0, 2-3, 5-19\n"));
  EXPECT_THAT(RenderHeatmap(MakePanel(1, 2, {kNaN, 1.0}), {}),
              Not(HasSubstr("see no key")));
}

TEST(HeatmapTest, DrawsPanelsWithoutWeights) {
  EXPECT_THAT(RenderHeatmap(MakePanel(2, 0, {}), {}), HasSubstr("0 keys"));
  EXPECT_THAT(RenderHeatmap(MakePanel(0, 2, {}), {}), HasSubstr("0 queries"));
  EXPECT_THAT(RenderHeatmap(MakePanel(0, 200, {}), {}), HasSubstr("0 queries"));
  EXPECT_THAT(RenderHeatmap(MakePanel(1, 1, {0.0}), {}), HasSubstr("|  |"));
}

TEST(HeatmapTest, SaysWhenItShrinksAPanel) {
  const std::string text = RenderHeatmap(
      MakePanel(4, 4, std::vector<double>(16, 1.0)), {.max_rows = 2});

  EXPECT_THAT(text, HasSubstr("shown as 2 x 4 cells, each the largest of up to "
                              "2 x 1 weights"));
}

TEST(OverviewTest, DrawsEveryPanelOnOneScale) {
  const Tensor weights = MakeWeights(Shape{2, 2, 2, 4});

  const std::string text =
      RenderOverview(WeightsPanels(weights.view(), /*per_head=*/true),
                     /*max_panels=*/64, /*max=*/31.0, {.width = 46});

  EXPECT_EQ(text,
            "sequence 0, head 0    sequence 0, head 1  \n"
            "|..::|                |-===|              \n"
            "\n"
            "sequence 1, head 0    sequence 1, head 1  \n"
            "|***#|                |%%@@|              \n"
            "\n"
            "  0   ..::--++**##%%@@ 31\n");
}

TEST(OverviewTest, DrawsNoMoreThanTold) {
  const Tensor weights = MakeWeights(Shape{3, 1, 1});

  const std::string text =
      RenderOverview(WeightsPanels(weights.view(), /*per_head=*/true),
                     /*max_panels=*/2, /*max=*/1.0, {});

  EXPECT_THAT(text, HasSubstr("head 1"));
  EXPECT_THAT(text, Not(HasSubstr("head 2")));
}

TEST(SubsampleTest, TakesTheLargestOfBlocks) {
  const WeightsPanel small =
      Subsample(MakePanel(2, 4, {0, 2, 14, 6, 8, 10, 12, 4}), 1, 2);

  EXPECT_EQ(small.num_rows, 1U);
  EXPECT_EQ(small.num_columns, 2U);
  EXPECT_THAT(small.values, ElementsAre(10.0, 14.0));
}

TEST(SubsampleTest, CoversEveryElementOfUnevenBlocks) {
  const WeightsPanel small = Subsample(MakePanel(1, 5, {1, 2, 3, 4, 5}), 1, 2);

  EXPECT_THAT(small.values, ElementsAre(2.0, 5.0));
}

TEST(SubsampleTest, IgnoresNaNUnlessABlockHasNothingElse) {
  const WeightsPanel small =
      Subsample(MakePanel(1, 4, {kNaN, 2, kNaN, kNaN}), 1, 2);

  EXPECT_EQ(small.values[0], 2.0);
  EXPECT_TRUE(std::isnan(small.values[1]));
}

TEST(WeightsPanelsTest, ReadsEachHeadOfEachSequence) {
  const Tensor weights = MakeWeights(Shape{3, 2, 1, 2});

  const WeightsPanels panels(weights.view(), /*per_head=*/true);

  EXPECT_EQ(panels.size(), 6U);
  EXPECT_EQ(panels.Max(), 11.0);
  const WeightsPanel panel = panels.Read(3);
  EXPECT_EQ(panel.title, "sequence 1, head 1");
  EXPECT_EQ(panel.sequence, 1U);
  EXPECT_THAT(panel.values, ElementsAre(6.0, 7.0));
}

TEST(WeightsPanelsTest, ReadsAveragedAndUnbatchedWeights) {
  const Tensor weights = MakeWeights(Shape{2, 2});
  const Tensor batch = MakeWeights(Shape{2, 2, 2});

  const WeightsPanels panels(weights.view(), /*per_head=*/false);
  const WeightsPanels batched(batch.view(), /*per_head=*/false);
  const WeightsPanels heads(batch.view(), /*per_head=*/true);

  ASSERT_EQ(panels.size(), 1U);
  EXPECT_EQ(panels.Read(0).title, "mean over heads");
  EXPECT_EQ(panels.Read(0).max(), 3.0);
  EXPECT_EQ(batched.Read(1).title, "sequence 1, mean over heads");
  EXPECT_EQ(heads.Read(1).title, "head 1");
}

TEST(ColorMapTest, InterpolatesAndClamps) {
  EXPECT_EQ(ColorOf(-1.0).red, 68);
  EXPECT_EQ(ColorOf(2.0).red, 253);
  EXPECT_EQ(ColorOf(1.0 / 16.0).red, 70);
}

}  // namespace
}  // namespace attention
