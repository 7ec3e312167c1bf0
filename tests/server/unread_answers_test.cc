// SPDX-License-Identifier: Apache-2.0
// Answers that nobody takes do not keep others out for ever.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMiB = std::size_t{1} << 20U;

// A stream that sends requests and reads no answer.
class DeafStream {
 public:
  explicit DeafStream(const std::string& address)
      : stub_(v1::AttentionService::NewStub(Connect(address))),
        stream_(stub_->ForwardStream(&context_)) {}

  // Send until it is ended. \return as what.
  grpc::StatusCode Send(v1::ForwardStreamRequest request) {
    do {
      request.set_id(request.id() + 1);
    } while (stream_->Write(request));
    v1::ForwardStreamResponse answer;
    while (stream_->Read(&answer)) {
    }  // a stream's end comes behind its answers
    return stream_->Finish().error_code();
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  const std::unique_ptr<v1::AttentionService::Stub> stub_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::ForwardStreamRequest,
                                                 v1::ForwardStreamResponse>>
      stream_;
};

// Whose answer has length x length weights of float32.
v1::ForwardStreamRequest RequestForWeights(std::int64_t length) {
  v1::ForwardStreamRequest request;
  *request.mutable_request() = MakeRequest("m", length);
  request.mutable_request()->set_need_weights(true);
  return request;
}

TEST(UnreadAnswersTest, AreGivenUpWhileMemoryIsShort) {
  ServerOptions options;
  options.max_queue_bytes = 16 * kMiB;
  ServerTimeouts timeouts;
  timeouts.unread_answer_busy = milliseconds(100);
  TestServer server(options, timeouts);
  server.Serve("m", MakeTestModule());
  const v1::ForwardStreamRequest request = RequestForWeights(512);
  std::vector<std::unique_ptr<DeafStream>> streams;
  std::counting_semaphore cancelled(0);
  std::vector<std::jthread> senders;
  for (int i = 0; i < 3; ++i) {
    streams.push_back(std::make_unique<DeafStream>(server.address()));
    senders.emplace_back([&, &stream = *streams.back()] {
      EXPECT_EQ(stream.Send(request), grpc::CANCELLED);
      cancelled.release();
    });
  }

  cancelled.acquire();  // one of them, by the server

  grpc::Status status;
  do {  // until the answers' memory is free
    status = server.Forward(request.request());
  } while (status.error_code() == grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(status.ok()) << status.error_message();
  for (const auto& stream : streams) stream->Cancel();
}

TEST(UnreadAnswersTest, AreGivenUpInTheEnd) {
  ServerTimeouts timeouts;
  timeouts.unread_answer = milliseconds(100);
  TestServer server({}, timeouts);
  server.Serve("m", MakeTestModule());

  EXPECT_EQ(DeafStream(server.address()).Send(RequestForWeights(256)),
            grpc::CANCELLED);

  server.ExpectServes();
}

}  // namespace
}  // namespace attention::testing
