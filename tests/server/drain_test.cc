// SPDX-License-Identifier: Apache-2.0
// Server::Drain.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::HasSubstr;

// Sends requests, one after the other, until one is refused.
void SendUntilRefused(TestServer& server, std::latch& first_answer,
                      std::atomic<int>& lost) {
  const auto channel = Connect(server.address());
  const auto stub = v1::AttentionService::NewStub(channel);
  const v1::ForwardRequest request = MakeRequest("m");
  bool counted = false;
  while (true) {
    grpc::ClientContext context;
    v1::ForwardResponse response;
    const grpc::Status status = stub->Forward(&context, request, &response);
    if (!counted) first_answer.count_down();
    counted = true;
    if (status.ok()) continue;
    if (status.error_code() != grpc::UNAVAILABLE) {
      ADD_FAILURE() << status.error_code() << ": " << status.error_message();
      ++lost;
    }
    return;
  }
}

TEST(DrainTest, AnswersOrRefusesEveryRequest) {
  TestServer server;
  server.Serve("m", MakeTestModule());
  constexpr int kClients = 4;
  std::latch first_answers(kClients);
  std::atomic<int> lost{0};
  std::vector<std::jthread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back(
        [&] { SendUntilRefused(server, first_answers, lost); });
  }
  first_answers.wait();

  server.server().Drain();
  clients.clear();

  EXPECT_EQ(lost, 0);
  EXPECT_EQ(server.server().state(), ServerState::kStopped);
}

TEST(DrainTest, EndsOpenStreams) {
  TestServer server;
  grpc::ClientContext context;
  const auto stream = server.attention().ForwardStream(&context);
  v1::ForwardStreamRequest request;
  v1::ForwardStreamResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));

  server.server().Drain();

  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAVAILABLE);
}

TEST(DrainTest, EndsOpenUploads) {
  TestServer server;
  grpc::ClientContext context;
  v1::UploadModuleResponse response;
  const auto upload = server.modules().UploadModule(&context, &response);
  v1::UploadModuleRequest message;
  *message.mutable_header() = MakeTestModule().Header("m");
  ASSERT_TRUE(upload->Write(message));

  server.server().Drain();
  const grpc::Status status = upload->Finish();

  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
}

TEST(DrainTest, CancelsWhatOutlastsTheGrace) {
  ServerOptions options;
  options.drain_grace = std::chrono::seconds(0);
  TestServer server(options);
  server.Serve("m", MakeTestModule());
  grpc::ClientContext context;
  const auto stream = server.attention().ForwardStream(&context);
  v1::ForwardStreamRequest request;
  request.set_id(1);
  *request.mutable_request() = MakeRequest("m", /*length=*/100'000);
  ASSERT_TRUE(stream->Write(request));
  request.set_id(2);
  request.mutable_request()->set_module("unknown");
  ASSERT_TRUE(stream->Write(request));
  v1::ForwardStreamResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.id(), 2U);  // so 1, a minute's work, has been read

  server.server().Drain();

  EXPECT_FALSE(stream->Read(&response));
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_EQ(server.server().state(), ServerState::kStopped);
}

}  // namespace
}  // namespace attention::testing
