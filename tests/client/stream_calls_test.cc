// SPDX-License-Identifier: Apache-2.0
// The calls that carry a ForwardStream, with a server that ends them as a test
// wants.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "client/cpp/attention_client.h"
#include "core/tensor/status_text.h"
#include "tests/client/scripted_stream.h"

namespace attention {
namespace {

using Result = absl::StatusOr<ForwardResult>;
using ::testing::HasSubstr;

using StreamCallsTest = ScriptedStreamTest;

TEST_F(StreamCallsTest, WhatIsUnansweredIsSentAgainOverANewCall) {
  service_.script = [](int number, ServerStream& stream) {
    // Each call answers a few, reads some more, and ends.
    for (int i = 0; i < 3 + number; ++i) {
      if (!Echo(stream)) return grpc::Status::OK;
    }
    for (int i = 0; i < 2; ++i) {
      if (Read(stream) == 0) break;
    }
    return kEnded;
  };
  ForwardStream stream = Open();
  std::vector<std::future<Result>> futures;
  for (std::uint64_t i = 0; i < 300; ++i) {
    futures.push_back(stream.Submit(MakeSeededRequest(i)));
  }

  for (std::uint64_t i = 0; i < futures.size(); ++i) {
    EXPECT_TRUE(IsAnswerTo(i, futures[i].get())) << i;
  }
  EXPECT_GT(service_.num_calls, 10);
}

TEST_F(StreamCallsTest, ACallMayEndWhileItsFirstRequestIsOnItsWay) {
  service_.script = [](int number, ServerStream& stream) {
    if (number == 1 && Read(stream) != 0) return kEnded;
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  EXPECT_TRUE(IsAnswerTo(1, stream.Submit(MakeSeededRequest(1)).get()));
  EXPECT_EQ(service_.num_calls, 2);
}

TEST_F(StreamCallsTest, TwoCallsWithoutAnAnswerFailWhatIsUnanswered) {
  service_.script = [](int number, ServerStream& stream) {
    if (number <= 2 && Read(stream) != 0) return kEnded;
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  const absl::Status status =
      stream.Submit(MakeSeededRequest(1)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(StatusText(status)),
              HasSubstr("open a new one; is the server running at 127.0.0.1"));
  EXPECT_EQ(service_.num_calls, 2);
  // The stream goes on.
  EXPECT_TRUE(IsAnswerTo(2, stream.Submit(MakeSeededRequest(2)).get()));
}

TEST_F(StreamCallsTest, ACallThatBroughtAnAnswerIsNotCounted) {
  service_.script = [](int number, ServerStream& stream) {
    // The first answers one of two requests, the second none.
    if (number == 1 && Echo(stream) && Read(stream) != 0) return kEnded;
    if (number == 2 && Read(stream) != 0) return kEnded;
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();
  auto first = stream.Submit(MakeSeededRequest(1));
  auto second = stream.Submit(MakeSeededRequest(2));

  EXPECT_TRUE(IsAnswerTo(1, first.get()));
  EXPECT_TRUE(IsAnswerTo(2, second.get()));
  EXPECT_EQ(service_.num_calls, 3);
}

TEST_F(StreamCallsTest, ACallThatAnsweredAllEndsARowOfThoseWithoutAnAnswer) {
  service_.script = [](int number, ServerStream& stream) {
    // None, all there is, none, and then as they come.
    if (number == 1 && Read(stream) != 0) return kEnded;
    if (number == 2 && Echo(stream)) return kEnded;
    if (number == 3 && Read(stream) != 0) return kEnded;
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  EXPECT_TRUE(IsAnswerTo(1, stream.Submit(MakeSeededRequest(1)).get()));
  EXPECT_TRUE(IsAnswerTo(2, stream.Submit(MakeSeededRequest(2)).get()));
}

TEST_F(StreamCallsTest, OtherErrorsOfACallAreNotRepeated) {
  service_.script = [](int, ServerStream& stream) {
    Read(stream);
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not you");
  };
  ForwardStream stream = Open();
  auto first = stream.Submit(MakeSeededRequest(1));

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
    stream.Submit(MakeSeededRequest(i), [&](const auto& reply) {
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

  const absl::Status status =
      stream.Submit(MakeSeededRequest(1)).get().status();

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
    while (Read(stream) != 0) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();

  const absl::Status status =
      stream.Submit(MakeSeededRequest(1)).get().status();

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
  auto bad = stream.Submit(MakeSeededRequest(1));
  auto good = stream.Submit(MakeSeededRequest(2));

  EXPECT_EQ(bad.get().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(IsAnswerTo(2, good.get()));
}

TEST_F(StreamCallsTest, AnUnreachableServerIsSaidToBe) {
  server_->Shutdown();
  ForwardStream stream = Open();

  const absl::Status status =
      stream.Submit(MakeSeededRequest(1)).get().status();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(StatusText(status)),
              HasSubstr("is the server running at 127.0.0.1"));
}

}  // namespace
}  // namespace attention
