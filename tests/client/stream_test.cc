// SPDX-License-Identifier: Apache-2.0
// ForwardStream against the real server, over a socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <future>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/cpp/attention_client.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"
#include "tests/client/temp_folder.h"
#include "tests/server/gated_service.h"
#include "tests/server/server_process.h"
#include "tests/server/test_server.h"

namespace attention {
namespace {

using Result = absl::StatusOr<ForwardResult>;
using ::attention::testing::GatedService;
using ::attention::testing::MakeTestModule;
using ::attention::testing::ServerProcess;
using ::attention::testing::TestServer;
using ::testing::HasSubstr;

constexpr std::int64_t kEmbedDim = 8;

PreparedForward MakeRequest(std::int64_t length, const char* module = "m") {
  const Tensor query =
      RandomTensor(DataType::kFloat32, {length, 1, kEmbedDim},
                   /*seed=*/static_cast<std::uint64_t>(length));
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.need_weights = length % 3 == 0;
  return AttentionClient::Prepare(module, inputs).value();
}

bool AreSame(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::memcmp(a.data, b.data, a.num_bytes()) == 0;
}

bool AreSame(const ForwardResult& a, const ForwardResult& b) {
  return AreSame(a.output(), b.output()) &&
         a.weights().has_value() == b.weights().has_value() &&
         (!a.weights() || AreSame(*a.weights(), *b.weights()));
}

std::string TextOf(const absl::Status& status) {
  return std::string(StatusText(status));
}

class StreamTest : public ::testing::Test {
 protected:
  StreamTest() { server_.Serve("m", MakeTestModule()); }

  TestServer server_;
  AttentionClient client_ = AttentionClient::Create(server_.address()).value();
};

TEST_F(StreamTest, ThousandsOfRequestsHaveTheirAnswersBits) {
  std::vector<PreparedForward> requests;
  std::vector<ForwardResult> answers;
  for (std::int64_t length = 1; length <= 60; ++length) {
    requests.push_back(MakeRequest(length));
    answers.push_back(client_.Forward(requests.back()).value());
  }
  ForwardStream stream = client_.OpenStream();
  std::mt19937 random(1);
  std::vector<std::pair<std::size_t, std::future<Result>>> futures;
  for (int i = 0; i < 4000; ++i) {
    const std::size_t which = random() % requests.size();
    futures.emplace_back(which, stream.Submit(requests[which]));
  }

  for (auto& [which, future] : futures) {
    const Result result = future.get();
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_TRUE(AreSame(*result, answers[which])) << which + 1;
  }
  EXPECT_EQ(stream.num_unanswered(), 0U);
}

TEST_F(StreamTest, TakesRequestsOfManyThreads) {
  ForwardStream stream = client_.OpenStream();
  const PreparedForward request = MakeRequest(5);
  const ForwardResult want = client_.Forward(request).value();
  std::atomic<int> num_same = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int call = 0; call < 200; ++call) {
          const Result result = stream.Submit(request).get();
          if (result.ok() && AreSame(*result, want)) ++num_same;
        }
      });
    }
  }

  EXPECT_EQ(num_same, 800);
}

TEST_F(StreamTest, AFailingRequestFailsAlone) {
  ForwardStream stream = client_.OpenStream();
  auto first = stream.Submit(MakeRequest(4));
  auto bad = stream.Submit(MakeRequest(4, "nobody"));
  auto last = stream.Submit(MakeRequest(4));

  EXPECT_TRUE(first.get().ok());
  const absl::Status status = bad.get().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(TextOf(status), HasSubstr("nobody"));
  EXPECT_TRUE(last.get().ok());
}

TEST_F(StreamTest, AnAnswerMaySubmitTheNextRequest) {
  ForwardStream stream = client_.OpenStream();
  const PreparedForward request = MakeRequest(2);
  std::atomic<int> num_answered = 0;
  std::promise<void> last;
  const ForwardStream::Done next = [&](const absl::StatusOr<ForwardReply>& r) {
    EXPECT_TRUE(r.ok()) << r.status();
    if (++num_answered < 300) {
      stream.Submit(request, next);
    } else {
      last.set_value();
    }
  };

  stream.Submit(request, next);
  last.get_future().wait();
  stream.Finish();

  EXPECT_EQ(num_answered, 300);
}

TEST_F(StreamTest, FinishWaitsForEveryAnswer) {
  ForwardStream stream = client_.OpenStream();
  std::atomic<int> num_ok = 0;
  for (int i = 0; i < 200; ++i) {
    stream.Submit(MakeRequest(9), [&](const auto& reply) {
      if (reply.ok()) ++num_ok;
    });
  }
  stream.Finish();

  EXPECT_EQ(num_ok, 200);
  const Result late = stream.Submit(MakeRequest(9)).get();
  EXPECT_EQ(late.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StreamTest, AnswersGoIntoTheCallersMemory) {
  ForwardStream stream = client_.OpenStream();
  const PreparedForward request = MakeRequest(4);
  const ForwardResult want = client_.Forward(request).value();
  Tensor output(DataType::kFloat32, {4, 1, kEmbedDim});
  Tensor other(DataType::kFloat32, {3, 1, kEmbedDim});

  auto good = stream.SubmitInto(request, {output.mutable_view(), std::nullopt});
  auto bad = stream.SubmitInto(request, {other.mutable_view(), std::nullopt});

  const Result result = good.get();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output().data, output.view().data);
  EXPECT_TRUE(AreSame(output.view(), want.output()));
  EXPECT_EQ(bad.get().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StreamTest, MovesWithItsRequests) {
  ForwardStream stream = client_.OpenStream();
  auto future = stream.Submit(MakeRequest(4));
  ForwardStream moved(std::move(stream));

  EXPECT_TRUE(future.get().ok());
  EXPECT_TRUE(moved.Submit(MakeRequest(4)).get().ok());
}

TEST_F(StreamTest, ADrainingServerAnswersWhatItReadAndLosesNothing) {
  ForwardStream stream = client_.OpenStream();
  const PreparedForward request = MakeRequest(50);
  std::vector<std::future<Result>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(stream.Submit(request));
  ASSERT_TRUE(futures.front().get().ok());

  server_.server().Drain();

  for (std::size_t i = 1; i < futures.size(); ++i) {
    const absl::Status status = futures[i].get().status();
    if (status.ok()) continue;
    ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    ASSERT_THAT(TextOf(status), HasSubstr("is the server running at"));
  }
}

TEST(StreamLimitTest, ARequestLongerThanTheServerTakesFailsAlone) {
  ServerOptions options;
  options.max_message_bytes = 4096;
  TestServer server(options);
  server.Serve("m", MakeTestModule());
  const auto client = AttentionClient::Create(server.address()).value();
  ForwardStream stream = client.OpenStream();
  std::vector<std::future<Result>> futures;
  for (int i = 0; i < 200; ++i) {
    futures.push_back(stream.Submit(MakeRequest(i % 20 == 7 ? 500 : 5)));
  }

  for (std::size_t i = 0; i < futures.size(); ++i) {
    const absl::Status status = futures[i].get().status();
    if (i % 20 != 7) {
      EXPECT_TRUE(status.ok()) << i << ": " << status;
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(TextOf(status),
                HasSubstr("expected at most 4096, the limit of the server's "
                          "--max-message-bytes"));
  }
}

class HeldStreamTest : public ::testing::Test {
 protected:
  HeldStreamTest() { service_.Hold(); }

  GatedService service_;
  AttentionClient client_ =
      AttentionClient::FromChannel(service_.channel(), "the gated service");
};

TEST_F(HeldStreamTest, MoreRequestsThanTheServerReadsWaitHere) {
  ForwardStream stream = client_.OpenStream();
  const PreparedForward request = MakeRequest(3);
  std::vector<std::future<Result>> futures;
  for (int i = 0; i < 500; ++i) futures.push_back(stream.Submit(request));
  service_.WaitForARequest();
  EXPECT_EQ(stream.num_unanswered(), 500U);
  service_.Release();

  for (auto& future : futures) EXPECT_TRUE(future.get().ok());
}

TEST_F(HeldStreamTest, MoreBytesThanTheServerReadsWaitHere) {
  const Tensor query =
      RandomTensor(DataType::kFloat32, {512, 1, kEmbedDim}, /*seed=*/1);
  const Tensor mask =
      RandomTensor(DataType::kFloat32, {512, 512}, /*seed=*/2);  // 1 MiB
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.attn_mask = mask.view();
  inputs.need_weights = false;
  const auto request = AttentionClient::Prepare("m", inputs).value();
  ForwardStream stream = client_.OpenStream();
  std::vector<std::future<Result>> futures;
  for (int i = 0; i < 70; ++i) futures.push_back(stream.Submit(request));
  service_.WaitForARequest();
  service_.Release();

  for (auto& future : futures) {
    const Result result = future.get();
    EXPECT_TRUE(result.ok()) << result.status();
  }
}

TEST_F(HeldStreamTest, EndingCancelsWhatIsUnanswered) {
  std::vector<std::future<Result>> futures;
  {
    ForwardStream stream = client_.OpenStream();
    for (int i = 0; i < 100; ++i) {
      futures.push_back(stream.Submit(MakeRequest(3)));
    }
    service_.WaitForARequest();
  }

  for (auto& future : futures) {
    EXPECT_EQ(future.get().status(),
              absl::CancelledError("the stream was cancelled"));
  }
  service_.Release();
}

TEST_F(HeldStreamTest, CancelEndsAWaitForAnswers) {
  ForwardStream stream = client_.OpenStream();
  auto future = stream.Submit(MakeRequest(3));
  service_.WaitForARequest();
  std::jthread finishing([&] { stream.Finish(); });

  stream.Cancel();
  finishing.join();

  EXPECT_EQ(future.get().status().code(), absl::StatusCode::kCancelled);
  service_.Release();
}

TEST_F(HeldStreamTest, FailsAtItsTimeout) {
  ForwardStream stream =
      client_.OpenStream({.timeout = std::chrono::milliseconds(30)});

  const absl::Status status = stream.Submit(MakeRequest(3)).get().status();
  const absl::Status later = stream.Submit(MakeRequest(3)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(TextOf(status), HasSubstr("timeout of 30ms"));
  EXPECT_EQ(later.code(), absl::StatusCode::kDeadlineExceeded);
  service_.Release();
}

TEST(StoppedServerTest, EndingAStreamDoesNotWaitForTheServer) {
  const TempFolder folder;
  const std::string target = "unix:" + folder / "socket";
  ServerProcess server({"--listen", target});
  ASSERT_FALSE(server.WaitForAddress().empty());
  const auto client = AttentionClient::Create(target).value();
  ASSERT_TRUE(client.Health().ok());
  server.Stop();
  std::vector<std::future<Result>> futures;
  {
    ForwardStream stream = client.OpenStream();
    const PreparedForward request = MakeRequest(100'000);  // 3 MiB
    for (int i = 0; i < 10; ++i) futures.push_back(stream.Submit(request));
  }

  for (auto& future : futures) {
    EXPECT_EQ(future.get().status().code(), absl::StatusCode::kCancelled);
  }
  server.Signal(SIGCONT);
}

// Serves "m" on a socket of a folder.
class ProcessAt {
 public:
  explicit ProcessAt(const std::string& target)
      : process_({"--listen", target, "--threads", "1"}) {
    EXPECT_FALSE(process_.WaitForAddress().empty());
    const auto module = MakeTestModule();
    const auto client = AttentionClient::Create(target).value();
    UploadOptions options;
    options.name = "m";
    options.config = module.config;
    const auto uploaded = client.UploadModule(
        options, std::as_bytes(std::span<const char>(module.file)));
    EXPECT_TRUE(uploaded.ok()) << uploaded.status();
  }

  void Stop() { process_.Stop(); }

  void Kill() {
    process_.Signal(SIGKILL);
    EXPECT_EQ(process_.WaitForExit(), -SIGKILL);
  }

 private:
  ServerProcess process_;
};

TEST(StreamOfAProcessTest, OutlivesAServerThatIsKilled) {
  const TempFolder folder;
  const std::string target = "unix:" + folder / "socket";
  auto server = std::make_optional<ProcessAt>(target);
  ClientOptions options;
  options.channel_args["grpc.initial_reconnect_backoff_ms"] = 10;
  options.channel_args["grpc.max_reconnect_backoff_ms"] = 10;
  const auto client = AttentionClient::Create(target, options).value();
  ForwardStream stream = client.OpenStream();
  const PreparedForward request = MakeRequest(700);
  ASSERT_TRUE(stream.Submit(request).get().ok());

  server->Stop();
  std::vector<std::future<Result>> futures;
  for (int i = 0; i < 3000; ++i) futures.push_back(stream.Submit(request));
  server->Kill();

  for (auto& future : futures) {
    const absl::Status status = future.get().status();
    ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    ASSERT_THAT(TextOf(status), HasSubstr("is the server running at unix:"));
  }

  server.emplace(target);
  Result again = stream.Submit(request).get();
  while (!again.ok()) {  // until gRPC connects again
    ASSERT_EQ(again.status().code(), absl::StatusCode::kUnavailable);
    again = stream.Submit(request).get();
  }
  EXPECT_TRUE(AreSame(*again, client.Forward(request).value()));
}

}  // namespace
}  // namespace attention
