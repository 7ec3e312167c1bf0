// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/attention_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <future>
#include <latch>
#include <optional>
#include <stop_token>
#include <thread>

#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"
#include "tests/client/fake_server.h"

namespace attention {
namespace {

using testing::HasSubstr;

class AttentionClientTest : public testing::Test {
 protected:
  FakeServer server_;
  AttentionClient client_ = server_.MakeClient();
  Tensor query_ = RandomTensor(DataType::kFloat32, Shape{2, 3, 8}, /*seed=*/1);
};

AttentionInputs InputsOf(const Tensor& query) {
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.need_weights = false;
  return inputs;
}

TEST_F(AttentionClientTest, ForwardReturnsOutputOfTheServer) {
  const auto result = client_.Forward("block", InputsOf(query_));

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output().shape, query_.shape());
  EXPECT_EQ(std::memcmp(result->output().data, query_.view().data,
                        query_.num_bytes()),
            0);
  EXPECT_FALSE(result->weights().has_value());
}

TEST_F(AttentionClientTest, ForwardReturnsVersionBatchAndTiming) {
  const auto result = client_.Forward("block", InputsOf(query_));

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->module_version(), 3U);
  EXPECT_EQ(result->batch_size(), 2U);
  EXPECT_EQ(result->timing().decode.count(), 10);
  EXPECT_EQ(result->timing().queue.count(), 20);
  EXPECT_EQ(result->timing().compute.count(), 30);
  EXPECT_EQ(result->timing().total.count(), 70);
}

TEST_F(AttentionClientTest, ForwardReturnsWeightsWhenAsked) {
  AttentionInputs inputs = InputsOf(query_);
  inputs.need_weights = true;
  inputs.average_attn_weights = false;

  const auto result = client_.Forward("block", inputs);

  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->weights().has_value());
  EXPECT_EQ(result->weights()->shape, (Shape{2, 2, 3, 3}));
}

TEST_F(AttentionClientTest, ForwardDoesNotSendAbsentKeyAndValue) {
  ASSERT_TRUE(client_.Forward("block", InputsOf(query_)).ok());

  const v1::ForwardRequest request = server_.attention.last_request();
  EXPECT_FALSE(request.has_key());
  EXPECT_FALSE(request.has_value());
}

TEST_F(AttentionClientTest, ResultOutlivesClientAndServer) {
  std::optional<FakeServer> server(std::in_place);
  std::optional<AttentionClient> client(server->MakeClient());
  absl::StatusOr<ForwardResult> result =
      client->Forward("block", InputsOf(query_));
  ASSERT_TRUE(result.ok()) << result.status();
  const ForwardResult copy = *result;
  result = absl::CancelledError();

  client.reset();
  server.reset();

  EXPECT_EQ(
      std::memcmp(copy.output().data, query_.view().data, query_.num_bytes()),
      0);
}

TEST_F(AttentionClientTest, ReceivesAnswersBeyondFourMebibytes) {
  constexpr std::size_t kElements = 3U * 1024 * 1024;
  server_.attention.num_output_elements = kElements;

  const auto result = client_.Forward("block", InputsOf(query_));

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output().num_bytes(), kElements * sizeof(float));
}

TEST_F(AttentionClientTest, ReceivesLargeAnswersOverTcp) {
  constexpr std::size_t kElements = 3U * 1024 * 1024;
  server_.attention.num_output_elements = kElements;
  const auto client = AttentionClient::Create(server_.target());
  ASSERT_TRUE(client.ok()) << client.status();

  const auto result = client->Forward("block", InputsOf(query_));

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output().num_bytes(), kElements * sizeof(float));
}

TEST_F(AttentionClientTest, LoopbackIsCalledDirectlyWhateverTheProxy) {
  // Nobody listens there.
  setenv("http_proxy", "http://127.0.0.1:9", /*overwrite=*/1);
  setenv("grpc_proxy", "http://127.0.0.1:9", /*overwrite=*/1);
  const std::string port =
      server_.target().substr(server_.target().rfind(':') + 1);
  for (const char* const host : {"127.0.0.1:", "localhost:"}) {
    const auto client = AttentionClient::Create(host + port);
    ASSERT_TRUE(client.ok()) << client.status();

    EXPECT_TRUE(client->Health().ok()) << host << client->Health().status();
  }
  unsetenv("http_proxy");
  unsetenv("grpc_proxy");
}

TEST_F(AttentionClientTest, StopCancelsARequestInFlight) {
  server_.attention.blocks = true;
  const auto request = AttentionClient::Prepare("block", InputsOf(query_));
  ASSERT_TRUE(request.ok()) << request.status();
  std::stop_source stop;
  std::promise<absl::Status> done;

  client_.ForwardAsync(
      *request,
      [&done](const absl::StatusOr<ForwardReply>& reply) {
        done.set_value(reply.status());
      },
      stop.get_token());
  stop.request_stop();

  EXPECT_EQ(done.get_future().get().code(), absl::StatusCode::kCancelled);
  server_.attention.release.release();
}

TEST_F(AttentionClientTest, LargeMessagesNameTheLimitThatRefusesThem) {
  server_.attention.status = {grpc::StatusCode::RESOURCE_EXHAUSTED,
                              "Received message larger than max (9 vs. 5)"};

  EXPECT_THAT(std::string(StatusText(
                  client_.Forward("block", InputsOf(query_)).status())),
              HasSubstr("(9 vs. 5); send less at a time, or raise the server's "
                        "--max-message-bytes"));
}

TEST_F(AttentionClientTest, KeepsCodeAndTextOfTheServer) {
  server_.attention.status = {grpc::StatusCode::INVALID_ARGUMENT,
                              "query has 7 columns, expected 8"};

  const auto result = client_.Forward("block", InputsOf(query_));

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusText(result.status()), "query has 7 columns, expected 8");
}

TEST_F(AttentionClientTest, RejectsMalformedAnswer) {
  server_.attention.is_malformed = true;

  const auto result = client_.Forward("block", InputsOf(query_));

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(StatusText(result.status()), HasSubstr("output"));
}

TEST_F(AttentionClientTest, FailsAtItsTimeout) {
  server_.attention.blocks = true;
  ClientOptions options;
  options.timeout = std::chrono::milliseconds(30);
  const AttentionClient client = server_.MakeClient(options);

  const auto result = client.Forward("block", InputsOf(query_));
  server_.attention.release.release();

  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(StatusText(result.status()), HasSubstr("timeout of 30ms"));
}

TEST_F(AttentionClientTest, AsksWhetherTheServerRunsWhenUnavailable) {
  std::string target;
  {
    const FakeServer gone;
    target = gone.target();
  }
  const auto client = AttentionClient::Create(target);
  ASSERT_TRUE(client.ok()) << client.status();

  const auto result = client->ListModules();

  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(StatusText(result.status()),
              HasSubstr("is the server running at " + target));
}

TEST_F(AttentionClientTest, RejectsTargetWithoutPort) {
  const auto client = AttentionClient::Create("localhost");

  EXPECT_EQ(client.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(StatusText(client.status()), HasSubstr("host:port or unix:PATH"));
}

TEST_F(AttentionClientTest, RejectsRequestBeyondTwoGibibytes) {
  // The view claims more than there is; it must not be read.
  AttentionInputs inputs = InputsOf(query_);
  inputs.attn_mask = TensorView{.data = query_.view().data,
                                .dtype = DataType::kFloat32,
                                .shape = Shape{30'000, 30'000}};

  const auto result = client_.Forward("block", inputs);

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_.attention.num_requests, 0U);
}

TEST_F(AttentionClientTest, SendsPreparedRequestRepeatedly) {
  const auto request = AttentionClient::Prepare("block", InputsOf(query_));
  ASSERT_TRUE(request.ok()) << request.status();
  constexpr std::ptrdiff_t kCalls = 3;
  std::latch done(kCalls);
  std::atomic<int> num_equal = 0;

  for (std::ptrdiff_t i = 0; i < kCalls; ++i) {
    client_.ForwardAsync(*request, [&](absl::StatusOr<ForwardReply> reply) {
      const auto result = reply.ok() ? reply->Decode() : reply.status();
      if (result.ok() && std::memcmp(result->output().data, query_.view().data,
                                     query_.num_bytes()) == 0) {
        ++num_equal;
      }
      done.count_down();
    });
  }
  done.wait();

  EXPECT_EQ(num_equal, kCalls);
}

TEST_F(AttentionClientTest, ForwardAsyncReportsFailure) {
  server_.attention.status = {grpc::StatusCode::RESOURCE_EXHAUSTED, "full"};
  const auto request = AttentionClient::Prepare("block", InputsOf(query_));
  ASSERT_TRUE(request.ok()) << request.status();
  std::promise<absl::Status> status;

  client_.ForwardAsync(*request, [&](absl::StatusOr<ForwardReply> reply) {
    status.set_value(reply.status());
  });

  EXPECT_EQ(status.get_future().get(), absl::ResourceExhaustedError("full"));
}

// Without a server in the process, whose callbacks keep gRPC's threads.
TEST(AttentionClientEndTest, TheLastOneMayEndInACallback) {
  for (int i = 0; i < 50; ++i) {
    auto client = std::make_optional(AttentionClient::Create("127.0.0.1:1"));
    ASSERT_TRUE(client->ok());
    const Tensor query(DataType::kFloat32, Shape{1, 1});
    const auto request = AttentionClient::Prepare("block", InputsOf(query));
    std::promise<absl::StatusCode> code;

    (*client)->ForwardAsync(*request, [&code, copy = **client](auto reply) {
      code.set_value(reply.status().code());
    });
    client.reset();

    EXPECT_EQ(code.get_future().get(), absl::StatusCode::kUnavailable);
  }
}

TEST_F(AttentionClientTest, ServesManyThreads) {
  std::atomic<int> num_ok = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int call = 0; call < 5; ++call) {
          if (client_.Forward("block", InputsOf(query_)).ok()) ++num_ok;
        }
      });
    }
  }

  EXPECT_EQ(num_ok, 20);
}

TEST_F(AttentionClientTest, ListsModules) {
  const auto modules = client_.ListModules();

  ASSERT_TRUE(modules.ok()) << modules.status();
  ASSERT_EQ(modules->size(), 2U);
  EXPECT_EQ((*modules)[0].name, "block");
  EXPECT_EQ((*modules)[0].state_name(), "ready");
  EXPECT_EQ((*modules)[1].state_name(), "failed");
  EXPECT_EQ((*modules)[1].error, "bad weights");
  EXPECT_FALSE((*modules)[1].config.has_value());
}

TEST_F(AttentionClientTest, DescribesModule) {
  const auto module = client_.GetModule("block");

  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(module->version, 3U);
  EXPECT_EQ(module->implementation, "fake");
  EXPECT_EQ(module->memory_bytes, 1234U);
  EXPECT_EQ(module->weights_dtype, DataType::kFloat32);
  ASSERT_TRUE(module->config.has_value());
  EXPECT_EQ(std::get<MultiHeadAttentionConfig>(*module->config).embed_dim, 8);
}

TEST_F(AttentionClientTest, ReportsUnknownModule) {
  EXPECT_EQ(client_.GetModule("other").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(client_.UnloadModule("other").code(), absl::StatusCode::kNotFound);
}

TEST_F(AttentionClientTest, LoadsModuleWithReplace) {
  ASSERT_TRUE(client_.LoadModule("block", /*replace=*/true).ok());

  EXPECT_EQ(server_.modules.last_load().name(), "block");
  EXPECT_TRUE(server_.modules.last_load().replace());
}

TEST_F(AttentionClientTest, TellsHealthOfServerAndModule) {
  server_.SetServing("block", false);

  EXPECT_EQ(*client_.Health(), HealthState::kServing);
  EXPECT_EQ(*client_.Health("block"), HealthState::kNotServing);
  EXPECT_EQ(client_.Health("other").status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace attention
