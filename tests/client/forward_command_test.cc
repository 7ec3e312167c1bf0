// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "client/cpp/cli/tensor_files.h"
#include "core/tensor/random_tensor.h"
#include "tests/client/cli_runner.h"
#include "tests/client/fake_server.h"
#include "tests/client/temp_folder.h"

namespace attention {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// The fake answers with the query.
class ForwardCommandTest : public testing::Test {
 protected:
  CliResult Forward(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"forward", "block"});
    return RunClient(server_.target(), arguments);
  }

  std::string Write(const std::string& name, const NamedTensors& tensors) {
    std::string path = folder_ / name;
    EXPECT_TRUE(WriteTensorFile(path, tensors).ok());
    return path;
  }

  std::string WriteText(const std::string& name, std::string_view text) {
    std::string path = folder_ / name;
    EXPECT_TRUE(WriteTextFile(path, text).ok());
    return path;
  }

  FakeServer server_;
  TempFolder folder_;
  Tensor query_ = RandomTensor(DataType::kFloat32, Shape{2, 3, 8}, /*seed=*/7);
  Tensor other_ = RandomTensor(DataType::kFloat32, Shape{2, 3, 8}, /*seed=*/8);
};

TEST_F(ForwardCommandTest, SummarizesTheAnswer) {
  const CliResult result = Forward({"--random", "2,3,8"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("output: float32 (2, 3, 8)"),
                    HasSubstr("module version 3"), HasSubstr("round trip")));
}

TEST_F(ForwardCommandTest, SendsRandomQueryOfTheSeed) {
  ASSERT_EQ(Forward({"--random", "2,3,8", "--seed", "7"}).exit_code, kExitOk);

  const std::string data = server_.attention.last_request().query().data();
  ASSERT_EQ(data.size(), query_.num_bytes());
  EXPECT_EQ(std::memcmp(data.data(), query_.view().data, data.size()), 0);
}

TEST_F(ForwardCommandTest, TakesRandomDimensionsWithCommasOrCrosses) {
  for (const char* const dims : {"2,3,8", "2x3x8", "2x3,8"}) {
    ASSERT_EQ(Forward({"--random", dims}).exit_code, kExitOk);
    EXPECT_EQ(server_.attention.last_request().query().shape_size(), 3);
  }
  ASSERT_EQ(Forward({"--random", "3x8"}).exit_code, kExitOk);
  EXPECT_EQ(server_.attention.last_request().query().shape(0), 3);
  EXPECT_EQ(server_.attention.last_request().query().shape(1), 8);
}

TEST_F(ForwardCommandTest, OptionsWithListsLeaveTheModuleNameAlone) {
  const CliResult result = RunClient(
      server_.target(),
      {"forward", "--random", "5,8", "--query-lengths", "2,3", "block"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(server_.attention.last_request().module(), "block");
  EXPECT_EQ(server_.attention.last_request().query_lengths_size(), 2);
}

TEST_F(ForwardCommandTest, MisspeltTensorsOfAFileAreNotIgnored) {
  const std::string path = Write(
      "case.safetensors", {{"query", query_.view()}, {"keys", other_.view()}});

  const CliResult result = Forward({"--inputs", path});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err,
              HasSubstr("there is no tensor \"key\"; the file has keys, query; "
                        "name one with --key " +
                        path + ":TENSOR; did you mean 'keys'?"));
  EXPECT_EQ(server_.attention.num_requests, 0U);
  EXPECT_EQ(Forward({"--inputs", path, "--key", path + ":keys"}).exit_code,
            kExitOk);
}

TEST_F(ForwardCommandTest, OtherTensorsOfAFileAreNoMistake) {
  const std::string path =
      Write("case.safetensors", {{"query", query_.view()},
                                 {"output", other_.view()},
                                 {"weights", other_.view()}});

  EXPECT_EQ(Forward({"--inputs", path}).exit_code, kExitOk);
}

TEST_F(ForwardCommandTest, LaysRandomQueryOutAsTheModuleWants) {
  server_.modules.module.mutable_config()
      ->mutable_multi_head_attention()
      ->set_batch_first(false);

  ASSERT_EQ(Forward({"--random", "2,3,8"}).exit_code, kExitOk);

  const v1::Tensor query = server_.attention.last_request().query();
  EXPECT_EQ(query.shape(0), 3);
  EXPECT_EQ(query.shape(1), 2);
}

TEST_F(ForwardCommandTest, SendsRandomKeyAndValueOfTheirOwnWidths) {
  auto* const config =
      server_.modules.module.mutable_config()->mutable_multi_head_attention();
  config->set_kdim(5);
  config->set_vdim(6);

  ASSERT_EQ(Forward({"--random", "2,3,8"}).exit_code, kExitOk);

  const v1::ForwardRequest request = server_.attention.last_request();
  EXPECT_EQ(request.key().shape(2), 5);
  EXPECT_EQ(request.value().shape(2), 6);
}

TEST_F(ForwardCommandTest, SendsTensorsOfFiles) {
  Tensor mask(DataType::kBool, Shape{3, 3});
  std::memset(mask.mutable_view().data, 0, mask.num_bytes());
  const std::string inputs = Write(
      "in.safetensors", {{"query", query_.view()}, {"attn_mask", mask.view()}});
  const std::string key = Write("key.npy", {{"output", other_.view()}});

  const CliResult result = Forward({"--inputs", inputs, "--key", key});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const v1::ForwardRequest request = server_.attention.last_request();
  EXPECT_EQ(request.query().data().size(), query_.num_bytes());
  EXPECT_EQ(request.attn_mask().dtype(), v1::DATA_TYPE_BOOL);
  EXPECT_TRUE(request.has_key());
  EXPECT_FALSE(request.has_value());
}

TEST_F(ForwardCommandTest, SendsFlags) {
  const CliResult result =
      Forward({"--random", "2,3,8", "--causal", "bottom-right", "--per-head",
               "--masked-row-policy", "zero", "--training", "--dropout-seed",
               "9", "--query-lengths", "2,1", "--dtype", "float64"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const v1::ForwardRequest request = server_.attention.last_request();
  EXPECT_EQ(request.causal(), v1::CAUSAL_BOTTOM_RIGHT);
  EXPECT_TRUE(request.need_weights());
  EXPECT_FALSE(request.average_attn_weights());
  EXPECT_EQ(request.masked_row_policy(), v1::MASKED_ROW_POLICY_ZERO);
  EXPECT_TRUE(request.training());
  EXPECT_EQ(request.dropout_seed(), 9U);
  EXPECT_EQ(request.query_lengths_size(), 2);
  EXPECT_EQ(request.query().dtype(), v1::DATA_TYPE_FLOAT64);
}

TEST_F(ForwardCommandTest, DoesNotAskForWeightsByDefault) {
  ASSERT_EQ(Forward({"--random", "2,3,8"}).exit_code, kExitOk);

  EXPECT_FALSE(server_.attention.last_request().need_weights());
}

TEST_F(ForwardCommandTest, WritesAnswerToFile) {
  const std::string path = folder_ / "answer.safetensors";

  const CliResult result =
      Forward({"--random", "2,3,8", "--need-weights", "--output", path});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(ReadTensorFile(path, "output")->shape(), (Shape{2, 3, 8}));
  EXPECT_EQ(ReadTensorFile(path, "weights")->shape(), (Shape{2, 3, 3}));
}

TEST_F(ForwardCommandTest, DrawsWeights) {
  const CliResult result =
      Forward({"--random", "2,3,8", "--per-head", "--weights"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("sequence 0, head 1"), HasSubstr("|@@@@@@|"),
                    HasSubstr("sequence 1, head 1"),
                    HasSubstr("2 of 4 matrices shown large")));
}

TEST_F(ForwardCommandTest, LabelsWeights) {
  const std::string path = WriteText("tokens.txt", "the\ncat\nsat\n");

  const CliResult result =
      Forward({"--random", "3,8", "--weights", "--query-tokens", path});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("  cat |@@@@@@|\n"),
                                HasSubstr("|\n       t c s\n")));
}

TEST_F(ForwardCommandTest, LabelsOfKeysAreTheirOwnWhereKeysAreSent) {
  const std::string key = Write("key.npy", {{"output", other_.view()}});
  const std::string query = Write("query.npy", {{"output", query_.view()}});
  const std::string path = WriteText("tokens.txt", "the\ncat\nsat\n");

  const CliResult numbered = Forward(
      {"--query", query, "--key", key, "--weights", "--query-tokens", path});
  const CliResult labelled =
      Forward({"--query", query, "--key", key, "--weights", "--query-tokens",
               path, "--key-tokens", WriteText("k.json", R"(["x","y","z"])")});

  EXPECT_THAT(numbered.out, HasSubstr("|\n       0 1 2\n"));
  EXPECT_THAT(labelled.out, HasSubstr("|\n       x y z\n"));
}

TEST_F(ForwardCommandTest, LabelsTheColumnsThatTheModuleAppends) {
  server_.modules.module.mutable_config()
      ->mutable_multi_head_attention()
      ->set_add_zero_attn(true);
  const std::string path = WriteText("tokens.json", R"(["the", "cat"])");

  const CliResult result =
      Forward({"--random", "3,8", "--weights", "--key-tokens", path});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("|\n     t c (\n"));
}

TEST_F(ForwardCommandTest, LabelsMustFit) {
  const std::string path = WriteText("tokens.txt", "the\ncat\n");

  const CliResult queries =
      Forward({"--random", "3,8", "--weights", "--query-tokens", path});
  const CliResult keys =
      Forward({"--random", "3,8", "--weights", "--key-tokens", path});

  EXPECT_EQ(queries.exit_code, kExitFailed);
  EXPECT_THAT(queries.err,
              HasSubstr("--query-tokens: got 2 labels, expected 3"));
  EXPECT_THAT(keys.err, HasSubstr("--key-tokens: got 2 labels, expected 3"));
}

TEST_F(ForwardCommandTest, LabelsThatNobodySeesAreAnError) {
  const std::string path = WriteText("tokens.txt", "the\n");

  const CliResult result = Forward({"--random", "3,8", "--query-tokens", path});

  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("--weights or --weights-html"));
}

TEST_F(ForwardCommandTest, WritesPageWithOnePanelPerHead) {
  const std::string path = folder_ / "weights.html";
  const std::string tokens = WriteText("tokens.txt", "the\ncat\nsat\n");

  const CliResult result = Forward(
      {"--random", "3,8", "--weights-html", path, "--query-tokens", tokens});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const auto page = ReadTextFile(path);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, AllOf(HasSubstr("\"title\":\"head 0\""),
                           HasSubstr("\"title\":\"head 1\""),
                           HasSubstr("\"keys\":[[\"the\",\"cat\",\"sat\"]]"),
                           Not(HasSubstr("\"title\":\"head 2\""))));
}

TEST_F(ForwardCommandTest, ExpectedAnswerExitsWithZero) {
  const std::string path =
      Write("want.safetensors", {{"output", query_.view()}});

  const CliResult result =
      Forward({"--random", "2,3,8", "--seed", "7", "--expect", path});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("no difference at all"));
}

TEST_F(ForwardCommandTest, UnexpectedAnswerExitsWithThree) {
  const std::string path =
      Write("want.safetensors", {{"output", other_.view()}});

  const CliResult result =
      Forward({"--random", "2,3,8", "--seed", "7", "--expect", path});

  EXPECT_EQ(result.exit_code, kExitDiffers);
  EXPECT_THAT(result.out, HasSubstr("output DIFFERS"));
}

TEST_F(ForwardCommandTest, AnswerOfOtherShapeExitsWithThree) {
  const std::string path =
      Write("want.safetensors", {{"output", query_.view()}});

  const CliResult result = Forward({"--random", "2,4,8", "--expect", path});

  EXPECT_EQ(result.exit_code, kExitDiffers);
  EXPECT_THAT(result.out, HasSubstr("got shape (2, 4, 8)"));
}

TEST_F(ForwardCommandTest, FileThatExpectsNothingIsAnError) {
  const std::string path = Write("want.safetensors", {{"x", query_.view()}});

  const CliResult result = Forward({"--random", "2,3,8", "--expect", path});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr("nothing to compare"));
}

TEST_F(ForwardCommandTest, FailedRequestExitsWithOne) {
  server_.attention.status = {grpc::StatusCode::INVALID_ARGUMENT, "bad query"};

  const CliResult result = Forward({"--random", "2,3,8"});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_EQ(result.err, "error: INVALID_ARGUMENT: bad query\n");
}

TEST_F(ForwardCommandTest, RefusesRandomTensorsBeyondMemory) {
  const CliResult result = Forward({"--random", "100000,100000,8"});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr("expected at most"));
}

}  // namespace
}  // namespace attention
