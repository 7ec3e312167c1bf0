// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/unknown_methods.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

constexpr char kServices[] =
    " is served, expected one of: attention.v1.AttentionService, "
    "attention.v1.ModuleService, grpc.health.v1.Health, "
    "grpc.reflection.v1.ServerReflection, "
    "grpc.reflection.v1alpha.ServerReflection";

void ExpectRefused(TestServer& server, const std::string& path,
                   const std::string& text) {
  const grpc::Status unary = CallRaw(server.channel(), path, "x");
  EXPECT_EQ(unary.error_code(), grpc::UNIMPLEMENTED) << path;
  EXPECT_EQ(unary.error_message(), text);

  const grpc::Status stream =
      StreamRaw(server.channel(), path, {"x", "y"}).status;
  EXPECT_EQ(stream.error_code(), grpc::UNIMPLEMENTED) << path;
  EXPECT_EQ(stream.error_message(), text);
}

TEST(UnknownMethodsTest, NamesTheServicesThereAre) {
  TestServer server;
  for (const std::string service :
       {"x.Y", "attention.v2.AttentionService", "AttentionService",
        "inference.GRPCInferenceService"}) {
    ExpectRefused(server, "/" + service + "/Forward",
                  "no service '" + service + "'" + kServices);
  }
}

TEST(UnknownMethodsTest, NamesTheMethodsThereAre) {
  TestServer server;
  ExpectRefused(server, "/attention.v1.AttentionService/forward",
                "attention.v1.AttentionService has no method 'forward', "
                "expected one of: Forward, ForwardStream");
  ExpectRefused(server, "/grpc.health.v1.Health/List",
                "grpc.health.v1.Health has no method 'List', expected one of: "
                "Check, Watch");
}

TEST(UnknownMethodsTest, SaysWhatAPathIs) {
  TestServer server;
  for (const std::string path : {"/", "/x", "x/y"}) {
    ExpectRefused(server, path,
                  "the path is '" + path + "', expected /SERVICE/METHOD");
  }
}

TEST(UnknownMethodsTest, QuotesNamesFromOutside) {
  const std::string name = "x\r\n'" + std::string(5000, 'y');
  const std::string quoted =
      R"('x\x0d\x0a\x27)" + std::string(60, 'y') + "'... (5004 bytes)";

  EXPECT_EQ(UnknownMethodError("/" + name + "/Forward").message(),
            "no service " + quoted + kServices);
  EXPECT_EQ(
      UnknownMethodError("/attention.v1.AttentionService/" + name).message(),
      "attention.v1.AttentionService has no method " + quoted +
          ", expected one of: Forward, ForwardStream");
}

// Read, it would be longer than a message may be.
TEST(UnknownMethodsTest, ReadsNoMessage) {
  ServerOptions options;
  options.max_message_bytes = std::size_t{1} << 20;
  TestServer server(options);

  ExpectRefused(server, "/attention.v1.AttentionService/x",
                "attention.v1.AttentionService has no method 'x', expected one "
                "of: Forward, ForwardStream");
  const grpc::Status status =
      CallRaw(server.channel(), "/attention.v1.AttentionService/x",
              std::string(64 * options.max_message_bytes, 'x'));

  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_NE(status.error_message(), "");
}

TEST(UnknownMethodsTest, LeavesTheConnectionToOtherCalls) {
  TestServer server;
  server.Serve("m", MakeTestModule());
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(CallRaw(server.channel(), "/x/y", std::string(100'000, 'x'))
                  .error_code(),
              grpc::UNIMPLEMENTED);
  }
  server.ExpectServes();
}

}  // namespace
}  // namespace attention::testing
