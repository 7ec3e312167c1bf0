// SPDX-License-Identifier: Apache-2.0
// More than can be computed in time, over a socket: refused at once.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using std::chrono::milliseconds;

// Predicted to take four seconds by those who know nothing of the module, and
// about as long with two threads: a request of as many comes to nothing here
// but by being cancelled.
constexpr std::int64_t kLongLength = 65'536;

const v1::ForwardRequest& LongRequest() {
  static const auto& request =
      *new v1::ForwardRequest(MakeRequest("m", kLongLength));
  return request;
}

// A call under way whose outcome may be looked at.
struct LongCall {
  explicit LongCall(v1::AttentionService::Stub& stub,
                    milliseconds timeout = std::chrono::minutes(10)) {
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    stub.async()->Forward(
        &context, &LongRequest(), &response,
        [this](const grpc::Status& status) { outcome.set_value(status); });
  }
  ~LongCall() {
    context.TryCancel();
    future.wait();
  }
  LongCall(const LongCall&) = delete;
  LongCall& operator=(const LongCall&) = delete;

  [[nodiscard]] bool IsDone() const {
    return future.wait_for(milliseconds(1)) == std::future_status::ready;
  }

  grpc::ClientContext context;
  v1::ForwardResponse response;
  std::promise<grpc::Status> outcome;
  const std::shared_future<grpc::Status> future = outcome.get_future().share();
};

class OverloadTest : public ::testing::Test {
 protected:
  static ServerOptions Options(const TimeLimits& limits) {
    ServerOptions options;
    options.threads = 2;
    options.time = limits;
    return options;
  }

  // Return the one of two calls that is done first.
  static const LongCall& FirstDone(const LongCall& a, const LongCall& b) {
    while (true) {
      if (a.IsDone()) return a;
      if (b.IsDone()) return b;
    }
  }

  static std::string Pushback(const LongCall& call) {
    const auto& trailers = call.context.GetServerTrailingMetadata();
    const auto found = trailers.find("grpc-retry-pushback-ms");
    return found == trailers.end()
               ? "none"
               : std::string(found->second.data(), found->second.size());
  }
};

TEST_F(OverloadTest, ARequestThatWouldWaitTooLongIsRefusedAtOnce) {
  TestServer server(Options({.max_queue_time = milliseconds(1)}));
  server.Serve("m", MakeTestModule());
  const LongCall one(server.attention());
  const LongCall other(server.attention());

  const LongCall& refused = FirstDone(one, other);

  const grpc::Status status = refused.future.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(status.error_message().starts_with(
      "the server is overloaded: the request is predicted to wait "))
      << status.error_message();
  EXPECT_GE(std::stoi(Pushback(refused)), 10);
  EXPECT_TRUE(server.Forward(MakeRequest("m")).ok()) << "comes in between";
}

TEST_F(OverloadTest, ARequestThatWouldMissItsDeadlineIsRefusedAtOnce) {
  TestServer server(Options({}));
  server.Serve("m", MakeTestModule());
  const LongCall running(server.attention());
  grpc::Status status;
  std::string pushback;
  // With nothing else to be computed it is tried, and late: then once more.
  do {
    const LongCall late(server.attention(), std::chrono::seconds(1));
    status = late.future.get();
    pushback = Pushback(late);
  } while (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(status.error_message().starts_with(
      "the server is overloaded: the answer is predicted in "))
      << status.error_message();
  EXPECT_GE(std::stoi(pushback), 10);
}

TEST_F(OverloadTest, ARequestThatTakesTooLongByItselfIsRefused) {
  TestServer server(Options({.max_request_time = milliseconds(10)}));
  server.Serve("m", MakeTestModule());
  const LongCall call(server.attention());

  const grpc::Status status = call.future.get();

  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "the request is predicted to take 4361 ms to compute, "
            "expected at most 10 (--max-request-time)");
  EXPECT_EQ(Pushback(call), "none") << "it would be refused again";
}

}  // namespace
}  // namespace attention::testing
