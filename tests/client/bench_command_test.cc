// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/client/cli_runner.h"
#include "tests/client/fake_server.h"

namespace attention {
namespace {

using testing::HasSubstr;

class BenchCommandTest : public testing::Test {
 protected:
  CliResult Bench(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"bench", "block", "--random", "1,4,8", "--warmup", "0.01",
                      "--duration", "0.05"});
    return RunClient(server_.target(), arguments);
  }

  FakeServer server_;
};

TEST_F(BenchCommandTest, ClosedLoopReportsEveryRequest) {
  const CliResult result = Bench({"--concurrency", "3", "--json"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["mode"], "closed");
  EXPECT_EQ(json["tokens_per_request"], 4);
  EXPECT_GT(json["codes"]["OK"], 0);
  EXPECT_EQ(json["latency_ns"]["count"], json["codes"]["OK"]);
  EXPECT_GT(json["verified"], 0);
  EXPECT_EQ(json["mismatches"], 0);
}

TEST_F(BenchCommandTest, OpenLoopReportsItsOwnLateness) {
  const CliResult result = Bench({"--rate", "500", "--json"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["mode"], "open");
  EXPECT_EQ(json["lateness_ns"]["count"], json["codes"]["OK"]);
}

TEST_F(BenchCommandTest, SendsOnOneStream) {
  const CliResult result = Bench({"--stream", "--concurrency", "9", "--json"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["stream"], true);
  EXPECT_EQ(server_.attention.num_streams, 1U);
  EXPECT_GT(json["codes"]["OK"], 0);
  EXPECT_EQ(json["mismatches"], 0);
}

TEST_F(BenchCommandTest, PrintsReadableReport) {
  const CliResult result = Bench({});

  EXPECT_THAT(result.out, HasSubstr("p99.9"));
  EXPECT_THAT(result.out, HasSubstr("tokens/s"));
}

TEST_F(BenchCommandTest, ChangingAnswersExitWithThree) {
  server_.attention.is_unsteady = true;

  const CliResult result = Bench({"--json"});

  EXPECT_EQ(result.exit_code, kExitDiffers);
  EXPECT_GT(nlohmann::json::parse(result.out)["mismatches"], 0);
}

TEST_F(BenchCommandTest, VerifyingNothingIsPossible) {
  const CliResult result = Bench({"--verify", "0", "--json"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out)["verified"], 0);
}

TEST_F(BenchCommandTest, FailingServerExitsWithOneBeforeTheRun) {
  server_.attention.status = {grpc::StatusCode::UNAVAILABLE, "draining"};

  const CliResult result = Bench({});

  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr("draining"));
  EXPECT_EQ(server_.attention.num_requests, 1U);
}

}  // namespace
}  // namespace attention
