// SPDX-License-Identifier: Apache-2.0
// What ends a ForwardStream, from where, and what it lets go of.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/cpp/attention_client.h"
#include "core/tensor/random_tensor.h"
#include "tests/client/scripted_stream.h"

namespace attention {
namespace {

using Reply = absl::StatusOr<ForwardReply>;

using StreamLifetimeTest = ScriptedStreamTest;

// A query that asks its stream when it is freed.
struct AskingQuery {
  const ForwardStream* stream;
  std::promise<std::size_t>* freed;
  Tensor tensor = RandomTensor(DataType::kFloat32, {2, 4}, /*seed=*/1);

  ~AskingQuery() { freed->set_value(stream->num_unanswered()); }
};

PreparedForward PrepareAsking(const ForwardStream& stream,
                              std::promise<std::size_t>& freed) {
  auto query = std::make_shared<AskingQuery>(&stream, &freed);
  AttentionInputs inputs;
  inputs.query = query->tensor.view();
  return AttentionClient::Prepare("m", inputs, query).value();
}

TEST_F(StreamLifetimeTest, MemoryIsFreedWhereItMayAskTheStream) {
  service_.script = [](int, ServerStream& stream) {
    while (Echo(stream)) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();
  std::promise<std::size_t> freed;
  EXPECT_TRUE(IsAnswerTo(1, stream.Submit(PrepareAsking(stream, freed)).get()));
  EXPECT_TRUE(IsAnswerTo(2, stream.Submit(MakeSeededRequest(2)).get()));

  EXPECT_LE(freed.get_future().get(), 1U);
}

TEST_F(StreamLifetimeTest, MemoryOfACancelledRequestToo) {
  service_.script = [](int, ServerStream& stream) {
    while (Read(stream) != 0) continue;
    return grpc::Status::OK;
  };
  ForwardStream stream = Open();
  std::promise<std::size_t> freed;
  auto result = stream.Submit(PrepareAsking(stream, freed));
  stream.Cancel();

  EXPECT_EQ(result.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(freed.get_future().get(), 0U);
}

TEST_F(StreamLifetimeTest, FinishWaitsForAnswersNotForTheCallsEnd) {
  const auto released = std::make_shared<std::latch>(1);
  service_.script = [released](int, ServerStream& stream) {
    while (Echo(stream)) continue;
    released->wait();
    return grpc::Status::OK;
  };
  {
    ForwardStream stream = Open();
    auto result = stream.Submit(MakeSeededRequest(1));
    stream.Finish();
    EXPECT_TRUE(IsAnswerTo(1, result.get()));
  }
  released->count_down();
}

// Answers the first of so many requests, once it has them all.
std::function<grpc::Status(int, ServerStream&)> AnswerFirstOf(
    int num_requests) {
  return [num_requests](int, ServerStream& stream) {
    for (int i = 0; i < num_requests; ++i) Read(stream);
    v1::ForwardStreamResponse answer;
    answer.set_id(1);
    answer.mutable_response();
    stream.Write(answer);
    while (Read(stream) != 0) continue;
    return grpc::Status::OK;
  };
}

TEST_F(StreamLifetimeTest, AnAnswerMayDestroyTheStream) {
  service_.script = AnswerFirstOf(6);
  auto stream = std::make_optional(Open());
  std::atomic<int> num_cancelled = 0;
  const auto destroyed = std::make_shared<std::promise<int>>();
  stream->Submit(MakeSeededRequest(1), [&, destroyed](const Reply&) {
    stream.reset();
    destroyed->set_value(num_cancelled);
  });
  for (int i = 0; i < 5; ++i) {
    stream->Submit(MakeSeededRequest(1), [&](const Reply& reply) {
      if (absl::IsCancelled(reply.status())) ++num_cancelled;
    });
  }

  EXPECT_EQ(destroyed->get_future().get(), 5);
}

TEST_F(StreamLifetimeTest, AnAnswerMayHoldTheStreamsLastOwner) {
  service_.script = AnswerFirstOf(2);
  const auto destroyed = std::make_shared<std::promise<void>>();
  std::shared_ptr<ForwardStream> stream(new ForwardStream(Open()),
                                        [destroyed](ForwardStream* owned) {
                                          delete owned;
                                          destroyed->set_value();
                                        });
  stream->Submit(MakeSeededRequest(1), [stream](const Reply&) {});
  auto second = stream->Submit(MakeSeededRequest(1));
  stream.reset();

  destroyed->get_future().wait();
  EXPECT_EQ(second.get().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(StreamLifetimeTest, ACancelledRequestMayDestroyTheStream) {
  service_.script = AnswerFirstOf(7);
  auto stream = std::make_optional(Open());
  std::vector<int> told;
  for (int i = 0; i < 6; ++i) {
    stream->Submit(MakeSeededRequest(1), [&, i](const Reply& reply) {
      EXPECT_TRUE(absl::IsCancelled(reply.status()));
      if (i == 2) stream.reset();  // tells the others within
      told.push_back(i);
    });
  }
  stream->Cancel();

  EXPECT_EQ(told, (std::vector<int>{0, 1, 3, 4, 5, 2}));
}

TEST_F(StreamLifetimeTest, AnAnswerMayFinishTheStream) {
  service_.script = AnswerFirstOf(2);
  std::promise<std::size_t> finished;
  ForwardStream stream = Open();
  stream.Submit(MakeSeededRequest(1), [&](const Reply&) {
    stream.Finish();
    finished.set_value(stream.num_unanswered());
  });
  auto second = stream.Submit(MakeSeededRequest(1));

  EXPECT_EQ(finished.get_future().get(), 1U);
  EXPECT_EQ(second.get().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(stream.Submit(MakeSeededRequest(1)).get().status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attention
