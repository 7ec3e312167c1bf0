// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "client/cpp/cli/cli.h"
#include "tests/client/cli_runner.h"

namespace attention {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Nothing is sent by a wrong command line, so nobody need listen.
constexpr char kNobody[] = "127.0.0.1:1";

TEST(CliUsageTest, HelpExitsWithZeroAndHasExamples) {
  const std::vector<std::vector<std::string>> commands = {{},
                                                          {"modules"},
                                                          {"modules", "list"},
                                                          {"modules", "show"},
                                                          {"modules", "load"},
                                                          {"modules", "upload"},
                                                          {"modules", "unload"},
                                                          {"forward"},
                                                          {"health"},
                                                          {"bench"}};
  for (std::vector<std::string> arguments : commands) {
    arguments.emplace_back("--help");

    const CliResult result = RunClient(kNobody, arguments);

    EXPECT_EQ(result.exit_code, kExitOk);
    EXPECT_THAT(result.out, HasSubstr("Example")) << arguments[0];
    EXPECT_THAT(result.out, HasSubstr("  attention-client ")) << arguments[0];
  }
}

TEST(CliUsageTest, HelpDocumentsExitCodesAndTarget) {
  EXPECT_THAT(RunClient(kNobody, {"--help"}).out,
              AllOf(HasSubstr("Exit codes:"), HasSubstr("ATTENTION_TARGET")));
}

TEST(CliUsageTest, WrongCommandLinesExitWithTwo) {
  const std::vector<std::vector<std::string>> commands = {
      {},
      {"unknown"},
      {"modules"},
      {"modules", "show"},
      {"modules", "upload", "block"},
      {"modules", "upload", "block", "/nonexistent.safetensors"},
      {"forward"},
      {"forward", "block"},
      {"forward", "block", "--random", "1"},
      {"forward", "block", "--random", "1,2,3,4"},
      {"forward", "block", "--random", "1,-2,3"},
      {"forward", "block", "--random", "1,2,x"},
      {"forward", "block", "--random", "1,2,3", "--query", "q.npy"},
      {"forward", "block", "--random", "1,2,8", "--dtype", "int8"},
      {"forward", "block", "--random", "1,2,8", "--causal", "left"},
      {"forward", "block", "--random", "1,2,8", "--masked-row-policy", "x"},
      {"forward", "block", "--random", "1,2,8", "--dropout-seed", "1"},
      {"forward", "block", "--random", "1,2,8", "--output", "x.txt"},
      {"forward", "block", "--random", "1,2,8", "--expect", "/nonexistent"},
      {"forward", "block", "--inputs", "/nonexistent"},
      {"--timeout", "0", "health"},
      {"--timeout", "soon", "health"},
      {"bench", "block"},
      {"bench", "block", "--random", "1,2,8", "--rate", "0"},
      {"bench", "block", "--random", "1,2,8", "--concurrency", "0"},
      {"bench", "block", "--random", "1,2,8", "--duration", "-1"},
      {"bench", "block", "--random", "1,2,8", "--max-in-flight", "5"},
      {"bench", "block", "--random", "1,2,8", "--rate", "5", "--concurrency",
       "5"}};
  for (const auto& arguments : commands) {
    const CliResult result = RunClient(kNobody, arguments);

    EXPECT_EQ(result.exit_code, kExitUsage)
        << testing::PrintToString(arguments) << result.out;
    EXPECT_FALSE(result.err.empty());
  }
}

struct Mistake {
  std::vector<std::string> arguments;
  std::string text;
};

TEST(CliUsageTest, MistakesAreExplainedInPlainWords) {
  const std::vector<std::string> forward = {"forward", "block", "--random",
                                            "2,50,8"};
  const auto with = [](std::vector<std::string> arguments,
                       std::vector<std::string> more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const std::vector<std::string> bench = {"bench", "block", "--random", "5,8"};
  constexpr char kSeeds[] =
      "expected a whole number from 0 to "
      "18446744073709551615";
  const std::vector<Mistake> mistakes = {
      {{"moduls", "list"}, "unknown command 'moduls'; did you mean 'modules'?"},
      {{"serve"},
       "unknown command 'serve', expected modules, forward, health or bench"},
      {{"modules", "lst"}, "unknown command 'lst'; did you mean 'list'?"},
      {{"moduls", "--help"},
       "unknown command 'moduls'; did you mean 'modules'?"},
      {{"help", "benhc"}, "unknown command 'benhc'; did you mean 'bench'?"},
      {{"health", "extra"}, "unexpected argument 'extra'"},
      {{"modules", "show", "a", "b"}, "unexpected argument 'b'"},
      {with(forward, {"--qury", "q.npy"}),
       "unknown option '--qury'; did you mean '--query'?"},
      {{"forward", "block", "-random", "5,8"},
       "unknown option '-random'; did you mean '--random'?"},
      {{"health", "--tagret=localhost:1"},
       "unknown option '--tagret'; did you mean '--target'?"},
      {{"health", "--target"},
       "--target needs a value, as in --target ADDRESS"},
      {with(forward, {"--causal"}),
       "--causal needs a value, as in --causal top-left|bottom-right"},
      {with(forward, {"--seed", "1", "--seed", "2"}),
       "--seed is given 2 times, expected once"},
      {with(forward, {"--seed", "x"}),
       "--seed: got 'x', " + std::string(kSeeds)},
      {with(forward, {"--training", "--dropout-seed", "-1"}),
       "--dropout-seed: got '-1', " + std::string(kSeeds)},
      {with(forward, {"--dtype", "int8"}),
       "--dtype: got 'int8', expected float32, float64, float16 or bfloat16"},
      {with(forward, {"--causal", "left"}),
       "--causal: got 'left', expected top-left or bottom-right"},
      {with(forward, {"--masked-row-policy", "x"}),
       "--masked-row-policy: got 'x', expected torch, zero or nan"},
      {with(forward, {"--query-lengths", "3,x"}),
       "--query-lengths: got '3,x', expected whole numbers separated by "
       "commas, "
       "such as 12,7,30"},
      {with(forward, {"--need-weights=maybe"}),
       "--need-weights: got 'maybe', expected no value, true or false"},
      {with(forward, {"--output", "x.txt"}),
       "--output: got 'x.txt', expected a name ending in .safetensors or .npy"},
      {with(forward, {"--expect", "/nonexistent"}),
       "--expect: there is no file '/nonexistent'"},
      {with(forward, {"--expect", "/tmp"}),
       "--expect: '/tmp' is a directory, expected a file"},
      {{"forward", "block", "--query", "q.pt"},
       "--query: got 'q.pt', expected FILE.npy or FILE.safetensors[:TENSOR]"},
      {{"forward", "block", "--random", "1"},
       "--random: got '1', expected N,L,E or L,E, such as 2,50,256 or 50x256"},
      {{"modules", "upload", "b", "/nonexistent"},
       "FILE: there is no file '/nonexistent'"},
      {{"modules", "upload", "b", "/proc/self/exe", "--compute-dtype", "int8"},
       "--compute-dtype: got 'int8', expected float32 or bfloat16"},
      {{"--timeout", "soon", "health"},
       "--timeout: got 'soon', expected a number from 0.001 to 86400"},
      {{"--timeout", "nan", "health"},
       "--timeout: got 'nan', expected a number from 0.001 to 86400"},
      {with(bench, {"--rate", "nan"}),
       "--rate: got 'nan', expected a number from 0.01 to 1000000"},
      {with(bench, {"--concurrency", "1.5"}),
       "--concurrency: got '1.5', expected a whole number from 1 to 1000000"},
      {with(bench, {"--max-in-flight", "0", "--rate", "1"}),
       "--max-in-flight: got '0', expected a whole number from 1 to 1000000"},
      {with(bench, {"--duration", "-1"}),
       "--duration: got '-1', expected a number from 0.001 to 86400"},
      {with(bench, {"--warmup", "x"}),
       "--warmup: got 'x', expected a number from 0 to 86400"},
      {with(bench, {"--verify", "x"}),
       "--verify: got 'x', expected a whole number from 0 to 1000000"},
      {with(bench, {"--rate-seed", "x"}),
       "--rate-seed: got 'x', " + std::string(kSeeds)}};
  for (const Mistake& mistake : mistakes) {
    const CliResult result = RunClient(kNobody, mistake.arguments);

    EXPECT_EQ(result.exit_code, kExitUsage) << mistake.text;
    EXPECT_EQ(result.err.substr(0, result.err.find('\n')),
              "error: " + mistake.text);
    EXPECT_THAT(result.err, HasSubstr("\nSee attention-client "));
    EXPECT_EQ(result.out, "");
  }
}

TEST(CliUsageTest, MissingPartsAreNamedWithExamples) {
  const std::vector<Mistake> mistakes = {
      {{}, "expected a command: modules, forward, health or bench"},
      {{"modules"}, "expected a command: list, show, load, upload or unload"},
      {{"forward"}, "NAME is required"},
      {{"modules", "upload", "block"}, "FILE is required"},
      {{"bench", "block"},
       "one of --query FILE, --inputs FILE.safetensors or --random N,L,E is "
       "required"}};
  for (const Mistake& mistake : mistakes) {
    const CliResult result = RunClient(kNobody, mistake.arguments);

    EXPECT_EQ(result.exit_code, kExitUsage);
    EXPECT_THAT(result.err,
                AllOf(HasSubstr("error: " + mistake.text + "\n"),
                      HasSubstr("Example"), HasSubstr("  attention-client ")));
  }
}

TEST(CliUsageTest, HelpIsACommandToo) {
  EXPECT_EQ(RunClient(kNobody, {"help"}).out,
            RunClient(kNobody, {"--help"}).out);
  const CliResult upload = RunClient(kNobody, {"help", "modules", "upload"});
  EXPECT_EQ(upload.exit_code, kExitOk);
  EXPECT_EQ(upload.out,
            RunClient(kNobody, {"modules", "upload", "--help"}).out);
}

TEST(CliUsageTest, HelpOfEveryCommandNamesTheServersOptionsInPlainWords) {
  const std::vector<std::vector<std::string>> commands = {{"modules", "list"},
                                                          {"modules", "upload"},
                                                          {"forward"},
                                                          {"health"},
                                                          {"bench"}};
  for (std::vector<std::string> arguments : commands) {
    arguments.emplace_back("-h");

    const std::string help = RunClient(kNobody, arguments).out;

    EXPECT_THAT(help, HasSubstr("--target ADDRESS and --timeout SECONDS"));
    for (const char* const internal :
         {"TEXT", "UINT", "INT ", "FLOAT", "ENUM", "NONNEGATIVE"}) {
      EXPECT_THAT(help, testing::Not(HasSubstr(internal)));
    }
  }
}

TEST(CliUsageTest, TellsItsVersion) {
  const CliResult result = RunClient(kNobody, {"--version"});

  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_THAT(result.out, testing::MatchesRegex(
                              "attention-client [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(CliUsageTest, TargetWithoutPortNamesTheForm) {
  const CliResult result = RunClient("localhost", {"health"});

  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err,
              HasSubstr("host:port or unix:PATH, such as localhost:50051"));
}

TEST(CliUsageTest, UnreachableServerNamesTheTarget) {
  const CliResult result = RunClient(kNobody, {"modules", "list"});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, AllOf(HasSubstr("error: UNAVAILABLE"),
                                HasSubstr("running at 127.0.0.1:1")));
}

TEST(CliUsageTest, UnreachableServerIsOneLineFromEveryCommand) {
  const std::vector<std::vector<std::string>> commands = {
      {"health"},
      {"health", "--module", "block"},
      {"modules", "list"},
      {"modules", "show", "block"},
      {"modules", "load", "block"},
      {"modules", "unload", "block"},
      {"forward", "block", "--random", "5,8"},
      {"bench", "block", "--random", "5,8"}};
  for (const auto& arguments : commands) {
    const CliResult result = RunClient(kNobody, arguments);

    EXPECT_EQ(result.exit_code, kExitFailed);
    EXPECT_EQ(result.err,
              "error: UNAVAILABLE: cannot connect: Connection refused; is the "
              "server running at 127.0.0.1:1, and neither loading nor "
              "draining?\n");
  }
}

}  // namespace
}  // namespace attention
