// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/token_labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cpp/cli/tensor_files.h"
#include "tests/client/temp_folder.h"

namespace attention {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ReadTokenFileTest : public testing::Test {
 protected:
  absl::StatusOr<TokenLists> Read(const std::string& name,
                                  std::string_view text) {
    const std::string path = folder_ / name;
    EXPECT_TRUE(WriteTextFile(path, text).ok());
    return ReadTokenFile(path);
  }

  TempFolder folder_;
};

TEST_F(ReadTokenFileTest, TakesOneLabelOfEachLine) {
  EXPECT_THAT(*Read("a.txt", "the\n\n cat \n"),
              ElementsAre(ElementsAre("the", "", " cat ")));
  EXPECT_THAT(*Read("a.txt", "\xEF\xBB\xBFthe\r\ncat"),
              ElementsAre(ElementsAre("the", "cat")));
}

TEST_F(ReadTokenFileTest, TakesJsonForAllSequencesOrEach) {
  EXPECT_THAT(*Read("a.json", R"(["the", "\n", "\u732b"])"),
              ElementsAre(ElementsAre("the", "\n", "猫")));
  EXPECT_THAT(*Read("a.json", R"([["a", "b"], ["c"]])"),
              ElementsAre(ElementsAre("a", "b"), ElementsAre("c")));
}

TEST_F(ReadTokenFileTest, RefusesWhatIsNoLabels) {
  for (const char* const text :
       {"", "the", "{}", "\"the\"", "[]", "[1]", "[[]]", "[\"a\", [\"b\"]]",
        "[[\"a\"], \"b\"]", "[[1]]", "[\"a\"", "[\"\xff\"]", "[null]"}) {
    const auto labels = Read("a.json", text);
    ASSERT_FALSE(labels.ok()) << text;
    EXPECT_THAT(std::string(labels.status().message()),
                AllOf(HasSubstr("a.json: expected a JSON array of strings")))
        << text;
  }
  EXPECT_THAT(std::string(Read("a.txt", "").status().message()),
              HasSubstr("a.txt: expected one label in each line"));
  EXPECT_EQ(ReadTokenFile("/nonexistent.txt").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(FitLabelsTest, TakesAsManyAsThereAre) {
  EXPECT_THAT(*FitLabels({{"a", "b"}}, {.name = "--x", .count = 2}),
              ElementsAre(ElementsAre("a", "b")));
  EXPECT_THAT(*FitLabels({}, {.name = "--x", .count = 2}), IsEmpty());
}

TEST(FitLabelsTest, NamesAppendedColumns) {
  const LabelledAxis axis = {
      .name = "--x", .count = 4, .appended = {"(bias)", "(zero)"}};

  EXPECT_THAT(*FitLabels({{"a", "b"}}, axis),
              ElementsAre(ElementsAre("a", "b", "(bias)", "(zero)")));
  EXPECT_THAT(*FitLabels({{"a", "b", "c", "d"}}, axis),
              ElementsAre(ElementsAre("a", "b", "c", "d")));
}

TEST(FitLabelsTest, FillsTheSequencesOfARaggedBatch) {
  const LabelledAxis axis = {.name = "--x",
                             .num_sequences = 2,
                             .count = 4,
                             .lengths = {3, 1},
                             .appended = {"(zero)"}};

  EXPECT_THAT(
      *FitLabels({{"a", "b", "c"}, {"d"}}, axis),
      ElementsAre(ElementsAre("a", "b", "c", "(zero)"),
                  ElementsAre("d", "(padding)", "(padding)", "(zero)")));
}

TEST(FitLabelsTest, RefusesOtherCounts) {
  const auto text = [](const TokenLists& labels, const LabelledAxis& axis) {
    const auto fitted = FitLabels(labels, axis);
    EXPECT_FALSE(fitted.ok());
    return std::string(fitted.status().message());
  };

  EXPECT_EQ(text({{"a"}}, {.name = "--x", .count = 2}),
            "--x: got 1 labels, expected 2");
  EXPECT_EQ(text({{"a", "b", "c"}}, {.name = "--x", .count = 2}),
            "--x: got 3 labels, expected 2");
  EXPECT_EQ(text({{"a"}}, {.name = "--x", .count = 3, .appended = {"(zero)"}}),
            "--x: got 1 labels, expected 2 (with (zero): 3)");
}

TEST(FitLabelsTest, NamesTheSequenceThatDoesNotFit) {
  const auto of_two = FitLabels(
      {{"a"}, {"b", "c"}}, {.name = "--x", .num_sequences = 2, .count = 1});
  const auto of_three = FitLabels(
      {{"a"}, {"b"}, {"c"}}, {.name = "--x", .num_sequences = 2, .count = 1});

  EXPECT_EQ(of_two.status().message(),
            "--x of sequence 1: got 2 labels, expected 1");
  EXPECT_EQ(of_three.status().message(),
            "--x: got labels of 3 sequences, expected those of 1 or of 2");
}

TEST(FitLabelsTest, SurvivesLengthsThatTheWeightsDoNotHave) {
  for (const std::int64_t length : {std::int64_t{-1}, std::int64_t{5}}) {
    const auto labels =
        FitLabels({std::vector<std::string>(5, "a")},
                  {.name = "--x", .count = 2, .lengths = {length}});
    EXPECT_FALSE(labels.ok());
  }
}

TEST(LabelsOfTest, FindsTheSequence) {
  EXPECT_THAT(LabelsOf({}, 3), IsEmpty());
  EXPECT_THAT(LabelsOf({{"a"}}, 3), ElementsAre("a"));
  EXPECT_THAT(LabelsOf({{"a"}, {"b"}}, 1), ElementsAre("b"));
}

}  // namespace
}  // namespace attention
