// SPDX-License-Identifier: Apache-2.0
// AttentionService.ForwardStream.
#include "server/rpc/forward_stream.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "tests/server/gated_service.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::HasSubstr;

// The client's side of one stream.
class Stream {
 public:
  explicit Stream(v1::AttentionService::Stub& stub) {
    // So that a server that does not answer fails the test.
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::minutes(1));
    stream_ = stub.ForwardStream(&context_);
  }

  void Send(std::uint64_t id, const std::string& module) {
    v1::ForwardStreamRequest message;
    message.set_id(id);
    *message.mutable_request() = MakeRequest(module);
    EXPECT_TRUE(stream_->Write(message));
  }
  void Send(const v1::ForwardStreamRequest& message) {
    EXPECT_TRUE(stream_->Write(message));
  }

  v1::ForwardStreamResponse Receive() {
    v1::ForwardStreamResponse message;
    EXPECT_TRUE(stream_->Read(&message));
    return message;
  }

  void HalfClose() { stream_->WritesDone(); }
  void Cancel() { context_.TryCancel(); }

  grpc::Status Finish() {
    v1::ForwardStreamResponse message;
    EXPECT_FALSE(stream_->Read(&message)) << message.ShortDebugString();
    return stream_->Finish();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ForwardStreamRequest,
                                           v1::ForwardStreamResponse>>
      stream_;
};

TEST(ForwardStreamTest, AnswersEveryRequestWithItsId) {
  GatedService service;
  Stream stream(service.stub());

  for (std::uint64_t id = 10; id < 15; ++id) stream.Send(id, "m");
  stream.HalfClose();
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 5; ++i) {
    const v1::ForwardStreamResponse answer = stream.Receive();
    EXPECT_EQ(answer.response().output().data().size(), 3U * 8U * 4U);
    ids.insert(answer.id());
  }

  EXPECT_EQ(ids, (std::set<std::uint64_t>{10, 11, 12, 13, 14}));
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ForwardStreamTest, FailsABadRequestAlone) {
  GatedService service;
  Stream stream(service.stub());

  stream.Send(1, "unknown");
  const v1::ForwardStreamResponse bad = stream.Receive();
  stream.Send(2, "m");
  const v1::ForwardStreamResponse good = stream.Receive();
  stream.HalfClose();

  EXPECT_EQ(bad.id(), 1U);
  EXPECT_EQ(bad.error().code(), grpc::NOT_FOUND);
  EXPECT_FALSE(bad.error().message().empty());
  EXPECT_EQ(good.id(), 2U);
  EXPECT_TRUE(good.has_response());
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ForwardStreamTest, FailsARequestWithoutContentAlone) {
  GatedService service;
  Stream stream(service.stub());

  stream.Send(v1::ForwardStreamRequest());

  EXPECT_EQ(stream.Receive().error().code(), grpc::INVALID_ARGUMENT);
}

TEST(ForwardStreamTest, AnswersAnUnparsableMessageWithIdZero) {
  TestServer server;
  server.Serve("m", MakeTestModule());
  v1::ForwardStreamRequest good;
  good.set_id(5);
  *good.mutable_request() = MakeRequest("m");

  const RawStreamResult result = StreamRaw(
      server.channel(), "/attention.v1.AttentionService/ForwardStream",
      {"\xFF\xFF\xFF", good.SerializeAsString()});

  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_EQ(result.answers.size(), 2U);
  v1::ForwardStreamResponse answer;
  ASSERT_TRUE(answer.ParseFromString(result.answers[0]));
  EXPECT_EQ(answer.id(), 0U);
  EXPECT_EQ(answer.error().code(), grpc::INVALID_ARGUMENT);
  ASSERT_TRUE(answer.ParseFromString(result.answers[1]));
  EXPECT_EQ(answer.id(), 5U);
  EXPECT_TRUE(answer.has_response());
}

TEST(ForwardStreamTest, RefusesTheIdOfAnUnansweredRequest) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());

  stream.Send(7, "m");
  stream.Send(7, "m");
  const v1::ForwardStreamResponse duplicate = stream.Receive();
  service.Release();
  const v1::ForwardStreamResponse first = stream.Receive();

  EXPECT_EQ(duplicate.id(), 7U);
  EXPECT_EQ(duplicate.error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(first.id(), 7U);
  EXPECT_TRUE(first.has_response());
}

TEST(ForwardStreamTest, LeavesAnIdToItsRequestAfterARefusal) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());
  stream.Send(7, "m");
  stream.Send(7, "m");
  ASSERT_TRUE(stream.Receive().has_error());

  stream.Send(7, "m");
  const v1::ForwardStreamResponse again = stream.Receive();
  service.Release();

  EXPECT_EQ(again.error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_TRUE(stream.Receive().has_response());
}

TEST(ForwardStreamTest, TakesAnIdAgainOnceItIsAnswered) {
  GatedService service;
  Stream stream(service.stub());

  for (int i = 0; i < 20; ++i) {
    stream.Send(7, "m");
    EXPECT_TRUE(stream.Receive().has_response());
  }
}

TEST(ForwardStreamTest, ReadsUpToItsBoundWhileNothingIsAnswered) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());

  // The last of them fails without the executor, which shows it was read.
  for (std::uint64_t id = 1; id < ForwardStreams::kMaxUnanswered; ++id) {
    stream.Send(id, "m");
  }
  stream.Send(1000, "unknown");

  EXPECT_EQ(stream.Receive().id(), 1000U);
  service.Release();
}

TEST(ForwardStreamTest, StopsReadingAtItsBound) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());

  for (std::uint64_t id = 1; id <= ForwardStreams::kMaxUnanswered; ++id) {
    stream.Send(id, "m");
  }
  stream.Send(1000, "unknown");
  service.Release();
  stream.HalfClose();

  EXPECT_EQ(stream.Receive().id(), 1U);
  for (std::uint64_t i = 1; i <= ForwardStreams::kMaxUnanswered; ++i) {
    static_cast<void>(stream.Receive());
  }
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ForwardStreamTest, AnswersEverythingReadAfterHalfClose) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());
  for (std::uint64_t id = 0; id < 200; ++id) stream.Send(id, "m");
  stream.HalfClose();

  service.Release();
  int answers = 0;
  for (; answers < 200; ++answers) {
    EXPECT_TRUE(stream.Receive().has_response());
  }

  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ForwardStreamTest, EndsAnEmptyStreamWithOk) {
  GatedService service;
  Stream stream(service.stub());

  stream.HalfClose();

  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ForwardStreamTest, AnswersWhatWasReadWhenTheServerDrains) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());
  stream.Send(1, "m");
  stream.Send(2, "unknown");
  ASSERT_EQ(stream.Receive().id(), 2U);  // so 1 has been read

  service.StopServing();
  service.service().Drain();
  service.Release();
  const v1::ForwardStreamResponse answer = stream.Receive();

  EXPECT_EQ(answer.id(), 1U);
  EXPECT_TRUE(answer.has_response());
  EXPECT_EQ(stream.Finish().error_code(), grpc::UNAVAILABLE);
}

TEST(ForwardStreamTest, RefusesStreamsOnceTheServerDrains) {
  GatedService service;
  service.service().Drain();

  Stream stream(service.stub());

  EXPECT_EQ(stream.Finish().error_code(), grpc::UNAVAILABLE);
}

TEST(ForwardStreamTest, AnswersWhatWasReadWhenItHasBeenOpenTooLong) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());
  stream.Send(1, "m");
  stream.Send(2, "unknown");
  ASSERT_EQ(stream.Receive().id(), 2U);  // so 1 has been read

  service.service().EndStreamsOlderThan(std::chrono::milliseconds(0));
  service.Release();
  const v1::ForwardStreamResponse answer = stream.Receive();
  const grpc::Status status = stream.Finish();

  EXPECT_EQ(answer.id(), 1U);
  EXPECT_TRUE(answer.has_response());
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("open a new one"));
}

TEST(ForwardStreamTest, GoesOnUntilItHasBeenOpenTooLong) {
  GatedService service;
  Stream stream(service.stub());
  stream.Send(1, "m");
  EXPECT_EQ(stream.Receive().id(), 1U);

  service.service().EndStreamsOlderThan(std::chrono::hours(24));
  stream.Send(2, "m");

  EXPECT_TRUE(stream.Receive().has_response());
  stream.HalfClose();
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(ForwardStreamTest, IsEndedByTheServerBeforeItsConnection) {
  TestServer server({}, {.stream_age = std::chrono::milliseconds(1)});
  Stream stream(server.attention());

  const grpc::Status status = stream.Finish();

  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("open a new one"));
  EXPECT_LT(ServerTimeouts().stream_age, kMaxConnectionAgeGrace);
}

TEST(ForwardStreamTest, RefusesAMessageBeyondTheBudgetBeforeItIsParsed) {
  GatedService service(/*budget_bytes=*/1 << 20);
  v1::ForwardStreamRequest message;
  message.mutable_request()->mutable_query()->set_data(
      std::string(std::size_t{1} << 19, 'x'));
  v1::ForwardStreamRequest id = message;
  id.set_id(7);

  const RawStreamResult result = StreamRaw(
      service.channel(), "/attention.v1.AttentionService/ForwardStream",
      {message.SerializeAsString() + id.SerializeAsString()});

  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_EQ(result.answers.size(), 1U);
  v1::ForwardStreamResponse answer;
  ASSERT_TRUE(answer.ParseFromString(result.answers[0]));
  EXPECT_EQ(answer.id(), 7U);
  EXPECT_EQ(answer.error().code(), grpc::RESOURCE_EXHAUSTED);
}

TEST(ForwardStreamTest, GivesTheBudgetBackWhenItIsCancelled) {
  GatedService service;
  service.Hold();
  Stream stream(service.stub());
  for (std::uint64_t id = 0; id < 10; ++id) stream.Send(id, "m");
  stream.Send(1000, "unknown");
  ASSERT_EQ(stream.Receive().id(), 1000U);  // so the others are queued

  stream.Cancel();
  const grpc::Status status = stream.Finish();
  const bool ended = service.calls().WaitIdle(std::chrono::minutes(1));

  EXPECT_TRUE(ended);  // though the executor is still held
  EXPECT_EQ(status.error_code(), grpc::CANCELLED);
  EXPECT_EQ(service.admission().reserved_bytes(), 0U);
  service.Release();
}

}  // namespace
}  // namespace attention::testing
