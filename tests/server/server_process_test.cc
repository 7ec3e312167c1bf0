// SPDX-License-Identifier: Apache-2.0
// attention-server as its operator meets it: exit codes, signals, log.
#include "tests/server/server_process.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "server/host/options.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/tcp.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::vector<std::string> kAnyPort = {"--listen", "127.0.0.1:0"};

struct Failure {
  std::string name;
  std::vector<std::string> arguments;
  int code;
};

class FailureTest : public ::testing::TestWithParam<Failure> {};

TEST_P(FailureTest, IsOneLineOnStderr) {
  ServerProcess process(GetParam().arguments);

  EXPECT_EQ(process.WaitForExit(), GetParam().code);

  EXPECT_THAT(process.log(), StartsWith("attention-server: "));
  EXPECT_EQ(std::ranges::count(process.log(), '\n'), 1) << process.log();
}

INSTANTIATE_TEST_SUITE_P(
    Table, FailureTest,
    ::testing::Values(
        Failure{"BadFlag", {"--no-such-flag"}, kExitUsageError},
        Failure{"BadValue", {"--threads", "none"}, kExitUsageError},
        Failure{"BadMetricsAddress",
                {"--metrics-listen", "unix:/s"},
                kExitUsageError},
        Failure{"NoRepository",
                {"--listen", "127.0.0.1:0", "--modules", "/nonexistent"},
                kExitRuntimeError},
        Failure{"UnknownModule",
                {"--listen", "127.0.0.1:0", "--modules", "/tmp", "--load",
                 "no-such-module"},
                kExitRuntimeError},
        Failure{
            "NotOurAddress", {"--listen", "192.0.2.1:1"}, kExitRuntimeError}),
    [](const auto& case_info) { return case_info.param.name; });

TEST(ServerProcessTest, SaysThatAPortIsInUse) {
  ServerProcess first(kAnyPort);
  const std::string address = first.WaitForAddress();

  ServerProcess second({"--listen", address});

  EXPECT_EQ(second.WaitForExit(), kExitRuntimeError);
  EXPECT_THAT(second.log(),
              StartsWith("attention-server: cannot listen on " + address));
  EXPECT_EQ(std::ranges::count(second.log(), '\n'), 1) << second.log();
}

TEST(ServerProcessTest, SaysThatThePortOfMetricsIsInUse) {
  ServerProcess first(kAnyPort);
  const std::string address = first.WaitForAddress();

  ServerProcess second({"--log-level", "error", "--listen", "127.0.0.1:0",
                        "--metrics-listen", address});

  EXPECT_EQ(second.WaitForExit(), kExitRuntimeError);
  EXPECT_EQ(second.log(),
            "attention-server: --metrics-listen: cannot listen on " + address +
                ": Address already in use\n");
}

TEST(ServerProcessTest, SaysThatTheMachineLacksThePathItIsToComputeWith) {
  // It ends in any case: the address is not ours.
  ServerProcess process({"--listen", "192.0.2.1:1", "--compute-path", "fused"},
                        /*environment=*/{"ONEDNN_MAX_CPU_ISA=SSE41"});

  EXPECT_EQ(process.WaitForExit(), kExitRuntimeError);

  EXPECT_THAT(process.log(), StartsWith("attention-server: --compute-path: "));
  EXPECT_EQ(std::ranges::count(process.log(), '\n'), 1) << process.log();
}

TEST(ServerProcessTest, OutlivesMoreConnectionsThanItHasDescriptors) {
  ServerProcess process(kAnyPort);
  const std::string address = process.WaitForAddress();
  ASSERT_NE(address, "");
  constexpr std::size_t kDescriptors = 96;
  process.LimitDescriptors(kDescriptors);
  std::vector<UniqueFd> connections;
  while (connections.size() < 2 * kDescriptors) {
    connections.push_back(ConnectSocket(address));
    ASSERT_TRUE(connections.back().valid());
  }
  // The last are not taken, but not left waiting either.
  WaitUntilClosed(connections.back().get());
  connections.clear();

  grpc::ClientContext context;
  context.set_wait_for_ready(true);  // until the others have gone
  v1::ListModulesResponse response;
  const auto stub = v1::ModuleService::NewStub(Connect(address));
  const grpc::Status status = stub->ListModules(&context, {}, &response);

  EXPECT_TRUE(status.ok()) << status.error_message();
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForExit(), 0);
}

class StopSignalTest : public ::testing::TestWithParam<int> {};

TEST_P(StopSignalTest, EndsTheServerWithSuccess) {
  ServerProcess process(kAnyPort);
  ASSERT_NE(process.WaitForAddress(), "");

  process.Signal(GetParam());

  EXPECT_EQ(process.WaitForExit(), 0);
}

INSTANTIATE_TEST_SUITE_P(Signals, StopSignalTest,
                         ::testing::Values(SIGTERM, SIGINT));

TEST(ServerProcessTest, FinishesWhatIsInFlightOnSigterm) {
  ServerProcess process(kAnyPort);
  const auto channel = Connect(process.WaitForAddress());
  const auto modules = v1::ModuleService::NewStub(channel);
  const auto attention = v1::AttentionService::NewStub(channel);
  const TestModule module = MakeTestModule();
  ASSERT_TRUE(Upload(*modules, module.Header("m"), module.file).ok());
  grpc::ClientContext context;
  const auto stream = attention->ForwardStream(&context);
  v1::ForwardStreamRequest request;
  v1::ForwardStreamResponse answer;
  request.set_id(1);
  *request.mutable_request() = MakeRequest("m", /*length=*/3000);
  ASSERT_TRUE(stream->Write(request));
  request.set_id(2);
  request.clear_request();
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));  // of one, so both were read

  process.Signal(SIGTERM);
  v1::ForwardStreamResponse other;
  ASSERT_TRUE(stream->Read(&other));

  EXPECT_EQ(answer.id() + other.id(), 3U);
  EXPECT_TRUE(answer.has_response() || other.has_response());
  EXPECT_FALSE(stream->Read(&other));
  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(process.WaitForExit(), 0);
}

TEST(ServerProcessTest, EndsAtOnceOnTheSecondSignal) {
  ServerProcess process(kAnyPort);
  const auto channel = Connect(process.WaitForAddress());
  const auto modules = v1::ModuleService::NewStub(channel);
  grpc::ClientContext context;
  v1::UploadModuleResponse response;
  // An upload that never ends keeps the server draining.
  const auto upload = modules->UploadModule(&context, &response);
  v1::UploadModuleRequest message;
  *message.mutable_header() = MakeTestModule().Header("m");
  ASSERT_TRUE(upload->Write(message));
  grpc::ClientContext other_context;
  v1::ListModulesResponse list;
  ASSERT_TRUE(modules->ListModules(&other_context, {}, &list).ok());

  // SIGINT behind SIGTERM: equal signals may merge into one.
  process.Signal(SIGTERM);
  process.Signal(SIGINT);

  EXPECT_GT(process.WaitForExit(), 128);
}

TEST(ServerProcessTest, LogsJson) {
  ServerProcess process({"--listen", "127.0.0.1:0", "--log-format", "json",
                         "--log-level", "debug"});
  static_cast<void>(process.WaitForAddress());
  process.Signal(SIGTERM);
  ASSERT_EQ(process.WaitForExit(), 0);

  std::istringstream lines(process.log());
  int num_lines = 0;
  for (std::string line; std::getline(lines, line); ++num_lines) {
    EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  }
  EXPECT_GT(num_lines, 2);
}

}  // namespace
}  // namespace attention::testing
