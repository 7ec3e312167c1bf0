// SPDX-License-Identifier: Apache-2.0
// The calls that carry a ForwardStream, with a server that ends them as a test
// wants.
#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <format>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "attention/v1/attention_service.grpc.pb.h"
#include "client/cpp/attention_client.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

using Result = absl::StatusOr<ForwardResult>;
using ServerStream = grpc::ServerReaderWriter<v1::ForwardStreamResponse,
                                              v1::ForwardStreamRequest>;
using ::testing::HasSubstr;

const grpc::Status kEnded = {grpc::StatusCode::UNAVAILABLE, "open a new one"};

// Ends calls as `script` says, which is told the number of the call from 1.
class ScriptedService final : public v1::AttentionService::Service {
 public:
  grpc::Status ForwardStream(grpc::ServerContext* /*context*/,
                             ServerStream* stream) override {
    return script(++num_calls, *stream);
  }

  std::function<grpc::Status(int number, ServerStream& stream)> script;
  std::atomic<int> num_calls = 0;
};

// Read a request. \return false at the end.
bool Read(ServerStream& stream) {
  v1::ForwardStreamRequest request;
  return stream.Read(&request);
}

// Read a request and answer it with its query.
bool Echo(ServerStream& stream) {
  v1::ForwardStreamRequest request;
  if (!stream.Read(&request)) return false;
  v1::ForwardStreamResponse answer;
  answer.set_id(request.id());
  *answer.mutable_response()->mutable_output() = request.request().query();
  return stream.Write(answer);
}

class StreamCallsTest : public ::testing::Test {
 protected:
  StreamCallsTest() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    client_ = AttentionClient::Create(std::format("127.0.0.1:{}", port));
  }

  ForwardStream Open() { return client_->OpenStream(); }

  static PreparedForward MakeRequest(std::uint64_t seed) {
    AttentionInputs inputs;
    const Tensor query = RandomTensor(DataType::kFloat32, {2, 4}, seed);
    inputs.query = query.view();
    return AttentionClient::Prepare("m", inputs).value();
  }

  static bool IsAnswerTo(std::uint64_t seed, const Result& result) {
    const Tensor query = RandomTensor(DataType::kFloat32, {2, 4}, seed);
    return result.ok() && std::memcmp(result->output().data, query.view().data,
                                      query.num_bytes()) == 0;
  }

  ScriptedService service_;
  std::unique_ptr<grpc::Server> server_;
  absl::StatusOr<AttentionClient> client_;
};

TEST_F(StreamCallsTest, WhatIsUnansweredIsSentAgainOverANewCall) {
  service_.script = [](int number, ServerStream& stream) {
    // Each call answers a few, reads some more, and ends.
    for (int i = 0; i < 3 + number; ++i) {
      if (!Echo(stream)) return grpc::Status::OK;
    }
    for (int i = 0; i < 2; ++i) {
      if (!Read(stream)) break;
    }
    return kEnded;
  };
  ForwardStream stream = Open();
  std::vector<std::future<Result>> futures;
  for (std::uint64_t i = 0; i < 300; ++i) {
    futures.push_back(stream.Submit(MakeRequest(i)));
  }

  for (std::uint64_t i = 0; i < futures.size(); ++i) {
    EXPECT_TRUE(IsAnswerTo(i, futures[i].get())) << i;
  }
  EXPECT_GT(service_.num_calls, 10);
}

TEST_F(StreamCallsTest, ACallMayEndWhileItsFirstRequestIsOnItsWay) {
  service_.script = [](int number, ServerStream& stream) {
    if (number == 1 && Read(stream)) return kEnded;
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  EXPECT_TRUE(IsAnswerTo(1, stream.Submit(MakeRequest(1)).get()));
  EXPECT_EQ(service_.num_calls, 2);
}

TEST_F(StreamCallsTest, TwoCallsWithoutAnAnswerFailWhatIsUnanswered) {
  service_.script = [](int number, ServerStream& stream) {
    if (number <= 2 && Read(stream)) return kEnded;
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  const absl::Status status = stream.Submit(MakeRequest(1)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(StatusText(status)),
              HasSubstr("open a new one; is the server running at 127.0.0.1"));
  EXPECT_EQ(service_.num_calls, 2);
  // The stream goes on.
  EXPECT_TRUE(IsAnswerTo(2, stream.Submit(MakeRequest(2)).get()));
}

TEST_F(StreamCallsTest, OtherErrorsOfACallAreNotRepeated) {
  service_.script = [](int, ServerStream& stream) {
    Read(stream);
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not you");
  };
  ForwardStream stream = Open();
  auto first = stream.Submit(MakeRequest(1));

  EXPECT_EQ(first.get().status(), absl::PermissionDeniedError("not you"));
  EXPECT_EQ(service_.num_calls, 1);
}

TEST_F(StreamCallsTest, FinishingOutlivesACallToo) {
  service_.script = [](int number, ServerStream& stream) {
    for (int i = 0; i < 3; ++i) {
      if (!Echo(stream)) return grpc::Status::OK;
    }
    return number < 4 ? kEnded : grpc::Status::OK;
  };
  ForwardStream stream = Open();
  std::atomic<int> num_ok = 0;
  for (std::uint64_t i = 0; i < 10; ++i) {
    stream.Submit(MakeRequest(i), [&](const auto& reply) {
      if (reply.ok()) ++num_ok;
    });
  }
  stream.Finish();

  EXPECT_EQ(num_ok, 10);
}

TEST_F(StreamCallsTest, AnEndWithoutAllAnswersIsAnError) {
  service_.script = [](int, ServerStream& stream) {
    Read(stream);
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  const absl::Status status = stream.Submit(MakeRequest(1)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(StatusText(status)),
              HasSubstr("expected answers to 1 more requests"));
}

TEST_F(StreamCallsTest, AnAnswerToNobodyIsAnError) {
  service_.script = [](int, ServerStream& stream) {
    Read(stream);
    v1::ForwardStreamResponse answer;
    answer.set_id(999);
    stream.Write(answer);
    while (Read(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  const absl::Status status = stream.Submit(MakeRequest(1)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(StatusText(status)), HasSubstr("its id is 999"));
}

TEST_F(StreamCallsTest, AMalformedAnswerFailsItsRequestAlone) {
  service_.script = [](int, ServerStream& stream) {
    v1::ForwardStreamRequest request;
    stream.Read(&request);
    v1::ForwardStreamResponse answer;
    answer.set_id(request.id());
    stream.Write(answer);
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();
  auto bad = stream.Submit(MakeRequest(1));
  auto good = stream.Submit(MakeRequest(2));

  EXPECT_EQ(bad.get().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(IsAnswerTo(2, good.get()));
}

TEST_F(StreamCallsTest, AnUnreachableServerIsSaidToBe) {
  server_->Shutdown();
  ForwardStream stream = Open();

  const absl::Status status = stream.Submit(MakeRequest(1)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(StatusText(status)),
              HasSubstr("is the server running at 127.0.0.1"));
}

}  // namespace
}  // namespace attention
