// SPDX-License-Identifier: Apache-2.0
// AttentionService.Forward, down to the executor.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>

#include "proto/wire/tensor_codec.h"
#include "tests/server/async_forward.h"
#include "tests/server/gated_service.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"
#include "tests/testing/tensor_compare.h"

namespace attention::testing {
namespace {

using ::testing::HasSubstr;

TEST(ForwardTest, AnswersWhatTheReferenceComputes) {
  TestServer server;
  const TestModule module = MakeTestModule();
  server.Serve("m", module);
  const v1::ForwardRequest request = MakeRequest("m");

  v1::ForwardResponse response;
  const grpc::Status status = server.Forward(request, &response);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(IsClose(DecodeTensor(response.output(), "output").value(),
                      ReferenceOutput(module, request).view()));
  EXPECT_FALSE(response.has_weights());
  EXPECT_EQ(response.module_version(), 1U);
  EXPECT_EQ(response.batch_size(), 1U);
  const v1::Timing& timing = response.timing();
  EXPECT_GT(timing.compute_time_ns(), 0U);
  EXPECT_GE(timing.total_time_ns(), timing.decode_time_ns() +
                                        timing.queue_time_ns() +
                                        timing.compute_time_ns());
}

TEST(ForwardTest, ReturnsWeightsPerHead) {
  TestServer server;
  server.Serve("m", MakeTestModule());
  v1::ForwardRequest request = MakeRequest("m");
  request.set_need_weights(true);
  request.set_average_attn_weights(false);

  v1::ForwardResponse response;
  const grpc::Status status = server.Forward(request, &response);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(DecodeTensor(response.weights(), "weights").value().shape,
            (Shape{1, 2, 3, 3}));
}

TEST(ForwardTest, NamesTheModuleAndTheFieldThatDoesNotFit) {
  TestServer server;
  server.Serve("m", MakeTestModule());

  const grpc::Status status =
      server.Forward(MakeRequest("m", /*length=*/3, /*embed_dim=*/6));

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("module 'm': query: "));
}

TEST(ForwardTest, DoesNotKnowAnUnknownModule) {
  TestServer server;

  EXPECT_EQ(server.Forward(MakeRequest("unknown")).error_code(),
            grpc::NOT_FOUND);
}

TEST(ForwardTest, RefusesRequestsWhileTheServerDrains) {
  GatedService service;
  service.StopServing();

  AsyncForward call(service.stub(), MakeRequest("m"));

  EXPECT_EQ(call.Wait().error_code(), grpc::UNAVAILABLE);
}

TEST(ForwardTest, TellsWhenToRetryWhenTheBudgetIsInUse) {
  GatedService service(/*budget_bytes=*/1 << 20);
  const auto others = service.admission().Reserve((1 << 20) - 100);
  ASSERT_TRUE(others.ok());

  AsyncForward call(service.stub(), MakeRequest("m"));

  EXPECT_EQ(call.Wait().error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(
      call.context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"),
      1U);
}

TEST(ForwardTest, DoesNotInviteToRetryWhatNeverFits) {
  GatedService service(/*budget_bytes=*/1000);

  AsyncForward call(service.stub(), MakeRequest("m"));

  EXPECT_EQ(call.Wait().error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(
      call.context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"),
      0U);
}

TEST(ForwardTest, GivesTheBudgetBackWhenAQueuedCallIsCancelled) {
  GatedService service;
  service.Hold();
  AsyncForward call(service.stub(), MakeRequest("m"));
  service.WaitForARequest();

  call.context.TryCancel();
  EXPECT_EQ(call.Wait().error_code(), grpc::CANCELLED);
  const bool ended = service.calls().WaitIdle(std::chrono::minutes(1));

  EXPECT_TRUE(ended);  // though the executor is still held
  EXPECT_EQ(service.admission().reserved_bytes(), 0U);
  service.Release();
}

TEST(ForwardTest, GivesTheBudgetBackWhenADeadlinePassesInTheQueue) {
  GatedService service;
  service.Hold();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(20));
  v1::ForwardResponse response;

  const grpc::Status status =
      service.stub().Forward(&context, MakeRequest("m"), &response);
  const bool ended = service.calls().WaitIdle(std::chrono::minutes(1));

  EXPECT_TRUE(ended);  // though the executor is still held
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(service.admission().reserved_bytes(), 0U);
  service.Release();
}

TEST(ForwardTest, RefusesAMessageBeyondTheBudgetBeforeItIsParsed) {
  GatedService service(/*budget_bytes=*/1 << 20);
  v1::ForwardRequest request = MakeRequest("m");
  request.mutable_query()->set_data(std::string(std::size_t{1} << 20, 'x'));

  const grpc::Status status =
      CallRaw(service.channel(), "/attention.v1.AttentionService/Forward",
              request.SerializeAsString() + "\xFF");  // not well-formed

  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
}

TEST(ForwardTest, RefusesAnAnswerBeyondTheMessageLimit) {
  GatedService service;
  v1::ForwardRequest request = MakeRequest("m", /*length=*/600);
  request.set_need_weights(true);

  AsyncForward call(service.stub(), request);
  const grpc::Status status = call.Wait();

  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("weights (1, 600, 600)"));
}

}  // namespace
}  // namespace attention::testing
