// SPDX-License-Identifier: Apache-2.0
// What a server does with the modules it is to serve from the start.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "core/tensor/status_text.h"
#include "tests/server/raw_call.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::HasSubstr;

const std::string kServing = "\x08\x01";
const std::string kNotServing = "\x08\x02";

// A repository with the modules "m" and "n", and "bad", which is none.
class LoadModulesTest : public ::testing::Test {
 protected:
  LoadModulesTest() {
    options_.modules = directory_.path();
    options_.listen = {"127.0.0.1:0"};
    TestServer server(options_);
    const TestModule module = MakeTestModule();
    for (const char* name : {"m", "n"}) {
      v1::UploadModuleHeader header = module.Header(name);
      header.set_persist(true);
      EXPECT_TRUE(Upload(server.modules(), header, module.file).ok());
    }
    directory_.Write("bad.safetensors", "version https://git-lfs.github.com");
    directory_.Write("..data/config.json", "{}");
    directory_.Write("..2026_01_01.safetensors", "");
  }

  static std::map<std::string, v1::ModuleInfo> List(TestServer& server) {
    grpc::ClientContext context;
    v1::ListModulesResponse response;
    EXPECT_TRUE(server.modules().ListModules(&context, {}, &response).ok());
    std::map<std::string, v1::ModuleInfo> modules;
    for (const v1::ModuleInfo& info : response.modules()) {
      modules[info.name()] = info;
    }
    return modules;
  }
  static std::string HealthOf(TestServer& server, const std::string& name) {
    std::string request;
    if (!name.empty()) {
      request = "\x0A" + std::string(1, static_cast<char>(name.size())) + name;
    }
    const RawStreamResult result =
        StreamRaw(server.channel(), "/grpc.health.v1.Health/Check", {request});
    return result.answers.empty() ? "none" : result.answers.front();
  }

  const TemporaryDirectory directory_;
  ServerOptions options_;
};

TEST_F(LoadModulesTest, ServesAllThatCanBeLoaded) {
  options_.load = {"all"};

  TestServer server(options_);

  server.ExpectServes();
  const auto modules = List(server);
  EXPECT_EQ(modules.size(), 3U);
  EXPECT_EQ(modules.at("m").state(), v1::MODULE_STATE_READY);
  EXPECT_EQ(modules.at("n").state(), v1::MODULE_STATE_READY);
}

TEST_F(LoadModulesTest, RemembersWhyAModuleOfAllIsNotServed) {
  options_.load = {"all"};

  TestServer server(options_);

  const v1::ModuleInfo bad = List(server).at("bad");
  EXPECT_EQ(bad.state(), v1::MODULE_STATE_FAILED);
  EXPECT_THAT(bad.error(), HasSubstr("git lfs pull"));
  EXPECT_EQ(HealthOf(server, "bad"), kNotServing);
  EXPECT_EQ(HealthOf(server, "m"), kServing);
  EXPECT_EQ(HealthOf(server, ""), kServing);
  const grpc::Status status = server.Forward(MakeRequest("bad"));
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("its last load failed"));
}

// A module may still be loaded or uploaded, and the listing says why.
TEST_F(LoadModulesTest, ServesWhatAllCanLoadEvenIfThatIsNothing) {
  for (const char* name : {"m.safetensors", "n.safetensors"}) {
    std::filesystem::remove(directory_.path() / name);
  }
  options_.load = {"all"};

  TestServer server(options_);

  EXPECT_EQ(HealthOf(server, ""), kServing);
  EXPECT_EQ(HealthOf(server, "bad"), kNotServing);
  const auto modules = List(server);
  EXPECT_EQ(modules.size(), 1U);
  EXPECT_EQ(modules.at("bad").state(), v1::MODULE_STATE_FAILED);
  const TestModule module = MakeTestModule();
  EXPECT_TRUE(Upload(server.modules(), module.Header("new"), module.file).ok());
}

TEST_F(LoadModulesTest, NeedsTheModulesThatAreNamed) {
  options_.load = {"m", "bad"};

  const absl::Status status = Server(options_).Start();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(StatusText(status)), HasSubstr("module 'bad'"));
}

TEST_F(LoadModulesTest, NeedsTheModulesThatAreNamedBesideAll) {
  options_.load = {"all", "bad"};
  EXPECT_FALSE(Server(options_).Start().ok());
  options_.load = {"all", "absent"};
  EXPECT_FALSE(Server(options_).Start().ok());
  options_.load = {"m", "all"};

  TestServer server(options_);

  const auto modules = List(server);
  EXPECT_EQ(modules.at("m").version(), 1U);
  EXPECT_EQ(modules.at("n").state(), v1::MODULE_STATE_READY);
  EXPECT_EQ(modules.at("bad").state(), v1::MODULE_STATE_FAILED);
}

TEST_F(LoadModulesTest, FollowsLinksIntoTheDirectoriesOfItsOptions) {
  const TemporaryDirectory outside;
  std::filesystem::rename(directory_.path() / "m.safetensors",
                          outside.path() / "file");
  std::filesystem::create_symlink(outside.path() / "file",
                                  directory_.path() / "m.safetensors");
  options_.load = {"m"};
  EXPECT_FALSE(Server(options_).Start().ok());
  options_.modules_link_roots = {outside.path()};

  TestServer server(options_);

  server.ExpectServes();
}

TEST_F(LoadModulesTest, NeedsTheDirectoriesOfItsOptions) {
  options_.modules_link_roots = {"/nonexistent/links"};

  const absl::Status status = Server(options_).Start();

  EXPECT_THAT(std::string(StatusText(status)), HasSubstr("/nonexistent/links"));
}

}  // namespace
}  // namespace attention::testing
