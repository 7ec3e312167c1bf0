// SPDX-License-Identifier: Apache-2.0
#include "server/host/server.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/tensor/status_text.h"
#include "tests/server/raw_call.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// A HealthCheckRequest for a service, as bytes; answered SERVING or not.
grpc::Status CheckHealth(TestServer& server, const std::string& service,
                         std::string* answer) {
  std::string request;
  if (!service.empty()) {
    request =
        "\x0A" + std::string(1, static_cast<char>(service.size())) + service;
  }
  const RawStreamResult result =
      StreamRaw(server.channel(), "/grpc.health.v1.Health/Check", {request});
  *answer = result.answers.empty() ? "" : result.answers.front();
  return result.status;
}

const std::string kServing = "\x08\x01";
const std::string kNotServing = "\x08\x02";

TEST(ServerTest, ChoosesAFreePort) {
  TestServer server;

  EXPECT_EQ(server.server().state(), ServerState::kServing);
  EXPECT_THAT(server.address(), ::testing::MatchesRegex("127.0.0.1:[1-9].*"));
}

TEST(ServerTest, ListensOnSeveralAddresses) {
  const TemporaryDirectory directory;
  ServerOptions options;
  const std::string socket = "unix:" + (directory.path() / "socket").string();
  options.listen = {"127.0.0.1:0", socket};
  Server server(options);

  ASSERT_TRUE(server.Start().ok());

  for (const std::string& address : server.addresses()) {
    EXPECT_TRUE(
        CallRaw(Connect(address), "/attention.v1.ModuleService/ListModules", "")
            .ok());
  }
}

TEST(ServerTest, MakesASocketFileOnlyItsOwnerMayUse) {
  namespace fs = std::filesystem;
  const TemporaryDirectory directory;
  ServerOptions options;
  const fs::path socket = directory.path() / "socket";
  options.listen = {"unix:" + socket.string()};
  Server server(options);

  ASSERT_TRUE(server.Start().ok());

  EXPECT_EQ(fs::status(socket).permissions() & fs::perms::mask,
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST(ServerTest, DoesNotShareAPort) {
  TestServer first;
  ServerOptions options;
  options.listen = {first.address()};
  Server second(options);

  const absl::Status status = second.Start();

  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(StatusText(status)),
              HasSubstr("cannot listen on " + first.address()));
}

TEST(ServerTest, DoesNotTakeOverASocketInUse) {
  const TemporaryDirectory directory;
  ServerOptions options;
  options.listen = {"unix:" + (directory.path() / "socket").string()};
  Server first(options);
  ASSERT_TRUE(first.Start().ok());

  EXPECT_FALSE(Server(options).Start().ok());
}

TEST(ServerTest, NeedsAReadableRepository) {
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  options.modules = "/nonexistent/modules";

  EXPECT_FALSE(Server(options).Start().ok());
}

TEST(ServerTest, NeedsTheModulesItIsToLoad) {
  const TemporaryDirectory directory;
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  options.modules = directory.path();
  options.load = {"absent"};

  const absl::Status status = Server(options).Start();

  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(StatusText(status)), HasSubstr("absent"));
}

TEST(ServerTest, LoadsAllModulesOfItsRepository) {
  const TemporaryDirectory directory;
  ServerOptions options;
  options.modules = directory.path();
  {
    TestServer server(options);
    const TestModule module = MakeTestModule();
    v1::UploadModuleHeader header = module.Header("m");
    header.set_persist(true);
    ASSERT_TRUE(Upload(server.modules(), header, module.file).ok());
  }
  options.load = {"all"};

  TestServer server(options);

  server.ExpectServes();
}

TEST(ServerTest, ComputesWithThePathOfItsOptions) {
  ServerOptions options;
  options.compute_path = PathChoice::kPrimitives;
  TestServer server(options);
  server.Serve("m", MakeTestModule());
  grpc::ClientContext context;
  v1::GetModuleRequest get;
  get.set_name("m");
  v1::GetModuleResponse response;

  ASSERT_TRUE(server.modules().GetModule(&context, get, &response).ok());

  EXPECT_EQ(response.module().implementation(), "primitives");
  server.ExpectServes();
}

TEST(ServerTest, StopsLoadingWhenAsked) {
  const TemporaryDirectory directory;
  directory.Write("never_read.safetensors", "");
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  options.modules = directory.path();
  options.load = {"all"};
  std::stop_source stop;
  stop.request_stop();

  EXPECT_EQ(Server(options).Start(stop.get_token()).code(),
            absl::StatusCode::kCancelled);
}

TEST(ServerTest, ReportsItsHealthAndThatOfEachModule) {
  TestServer server;
  server.Serve("m", MakeTestModule());
  std::string overall;
  std::string module;
  std::string unknown;

  EXPECT_TRUE(CheckHealth(server, "", &overall).ok());
  EXPECT_TRUE(CheckHealth(server, "m", &module).ok());

  EXPECT_EQ(overall, kServing);
  EXPECT_EQ(module, kServing);
  EXPECT_EQ(CheckHealth(server, "x", &unknown).error_code(), grpc::NOT_FOUND);
}

TEST(ServerTest, ReportsAnUnloadedModuleAsNotServing) {
  TestServer server;
  server.Serve("m", MakeTestModule());
  grpc::ClientContext context;
  v1::UnloadModuleRequest unload;
  unload.set_name("m");
  v1::UnloadModuleResponse unloaded;
  ASSERT_TRUE(server.modules().UnloadModule(&context, unload, &unloaded).ok());
  std::string answer;

  EXPECT_TRUE(CheckHealth(server, "m", &answer).ok());

  EXPECT_EQ(answer, kNotServing);
}

TEST(ServerTest, DescribesItsServicesByReflection) {
  TestServer server;
  // ServerReflectionRequest{list_services: ""}
  const RawStreamResult result = StreamRaw(
      server.channel(),
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      {std::string("\x3A\x00", 2)});

  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_EQ(result.answers.size(), 1U);
  EXPECT_THAT(result.answers[0], HasSubstr("attention.v1.AttentionService"));
  EXPECT_THAT(result.answers[0], HasSubstr("attention.v1.ModuleService"));
  EXPECT_THAT(result.answers[0], HasSubstr("grpc.health.v1.Health"));
}

}  // namespace
}  // namespace attention::testing
