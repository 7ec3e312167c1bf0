// SPDX-License-Identifier: Apache-2.0
// Whatever becomes of a call, it enters by the front door once and leaves by it
// once.
#include "server/rpc/front_door.h"

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "attention/v1/module_service.grpc.pb.h"
#include "core/tensor/random_tensor.h"
#include "proto/wire/tensor_codec.h"
#include "server/rpc/attention_codec.h"
#include "server/rpc/message_bytes.h"
#include "tests/server/gated_service.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"

namespace attention::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr char kForward[] = "/attention.v1.AttentionService/Forward";
constexpr char kForwardStream[] =
    "/attention.v1.AttentionService/ForwardStream";

class FrontDoorTest : public ::testing::Test {
 protected:
  explicit FrontDoorTest(std::size_t budget_bytes = std::size_t{1} << 30)
      : service_(budget_bytes) {}

  std::vector<std::string> Seen() { return service_.Seen(); }

  grpc::Status Forward(const v1::ForwardRequest& request,
                       grpc::ClientContext& context) {
    v1::ForwardResponse response;
    return service_.stub().Forward(&context, request, &response);
  }
  grpc::Status Forward(const v1::ForwardRequest& request) {
    grpc::ClientContext context;
    return Forward(request, context);
  }

  GatedService service_;
};

TEST_F(FrontDoorTest, SeesWhatACallWas) {
  const v1::ForwardRequest request = MakeRequest("m");
  std::string answer;

  ASSERT_TRUE(CallRaw(service_.channel(), kForward, request.SerializeAsString(),
                      &answer)
                  .ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward OK"));
  const CallRecord call = service_.observer().left().front().call;
  EXPECT_EQ(call.method, kForward);
  EXPECT_THAT(call.caller.peer, StartsWith("ipv4:127.0.0.1:"));
  EXPECT_EQ(call.module, "m");
  EXPECT_EQ(call.module_version, 1U);
  EXPECT_EQ(call.request_bytes, request.ByteSizeLong());
  EXPECT_EQ(call.response_bytes, answer.size());
  EXPECT_EQ(call.times.batch_size, 1U);
  EXPECT_GT(call.decode.count(), 0);
  EXPECT_GE(call.total, call.decode + call.times.queue + call.times.compute);
}

TEST_F(FrontDoorTest, SeesWhatCannotBeParsed) {
  EXPECT_FALSE(CallRaw(service_.channel(), kForward, "\xFF\xFF").ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward INVALID_ARGUMENT"));
  EXPECT_EQ(service_.observer().left().front().call.request_bytes, 2U);
}

TEST_F(FrontDoorTest, SeesAnUnknownModule) {
  EXPECT_FALSE(Forward(MakeRequest("unknown")).ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward NOT_FOUND"));
  EXPECT_EQ(service_.observer().left().front().call.module, "unknown");
}

TEST_F(FrontDoorTest, KeepsAnInvalidNameToItself) {
  EXPECT_FALSE(Forward(MakeRequest("a\nb")).ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward INVALID_ARGUMENT"));
  EXPECT_EQ(service_.observer().left().front().call.module, "");
}

TEST_F(FrontDoorTest, SeesARefusalOfAServerThatDoesNotServe) {
  service_.StopServing();

  EXPECT_FALSE(Forward(MakeRequest("m")).ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward UNAVAILABLE"));
}

TEST_F(FrontDoorTest, CountsTheBytesOfWhatItRefuses) {
  v1::GetModuleRequest request;
  request.set_name("m");
  service_.StopServing();

  EXPECT_FALSE(CallRaw(service_.channel(),
                       "/attention.v1.ModuleService/GetModule",
                       request.SerializeAsString())
                   .ok());

  EXPECT_THAT(Seen(), ElementsAre("call GetModule UNAVAILABLE"));
  EXPECT_EQ(service_.observer().left().front().call.request_bytes,
            request.ByteSizeLong());
}

class SmallBudgetTest : public FrontDoorTest {
 protected:
  SmallBudgetTest() : FrontDoorTest(/*budget_bytes=*/std::size_t{1} << 20) {}
};

TEST_F(SmallBudgetTest, SeesWhatIsBeyondIt) {
  v1::ForwardRequest request = MakeRequest("m");
  request.mutable_query()->set_data(std::string(std::size_t{1} << 20, 'x'));

  EXPECT_FALSE(Forward(request).ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward RESOURCE_EXHAUSTED"));
}

TEST_F(FrontDoorTest, SeesWhatIsCancelledWhileItIsQueued) {
  service_.Hold();
  grpc::ClientContext context;
  std::jthread client([&] {
    EXPECT_EQ(Forward(MakeRequest("m"), context).error_code(), grpc::CANCELLED);
  });
  service_.WaitForARequest();

  context.TryCancel();
  EXPECT_TRUE(service_.calls().WaitIdle(std::chrono::minutes(1)));
  service_.Release();

  EXPECT_THAT(Seen(), ElementsAre("call Forward CANCELLED"));
  EXPECT_EQ(service_.observer().left().front().call.times.batch_size, 0U);
}

TEST_F(FrontDoorTest, SeesWhatIsCancelledWhileItIsComputed) {
  // Many seconds' work for a small answer.
  v1::ForwardRequest request = MakeRequest("m", /*length=*/20'000);
  EncodeTensor(
      RandomTensor(DataType::kFloat32, {500'000, 1, 8}, /*seed=*/3).view(),
      request.mutable_key());
  grpc::ClientContext context;
  std::jthread client([&] {
    EXPECT_EQ(Forward(request, context).error_code(), grpc::CANCELLED);
  });
  service_.observer().WaitUntilStarted(1);

  context.TryCancel();

  EXPECT_THAT(Seen(), ElementsAre("call Forward CANCELLED"));
  EXPECT_EQ(service_.observer().left().front().call.times.batch_size, 1U);
}

TEST_F(FrontDoorTest, SeesWhatIsPastItsDeadline) {
  CallRecord record;
  record.method = kForward;
  record.deadline = CallRecord::Clock::now() - std::chrono::seconds(1);
  grpc::ByteBuffer message = SerializeMessage(MakeRequest("m"));

  const grpc::Status status = service_.Handle(
      record, std::make_unique<AttentionCodec>(service_.buffers()), &message);

  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_THAT(Seen(), ElementsAre("call Forward DEADLINE_EXCEEDED"));
}

TEST_F(FrontDoorTest, SeesUntilWhenTheAnswerIsWanted) {
  using std::chrono::minutes;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + minutes(10));
  const auto start = CallRecord::Clock::now();

  EXPECT_TRUE(Forward(MakeRequest("m"), context).ok());
  EXPECT_TRUE(Forward(MakeRequest("m")).ok());

  EXPECT_THAT(Seen(), ElementsAre("call Forward OK", "call Forward OK"));
  const auto left = service_.observer().left();
  EXPECT_GT(left[0].call.deadline, start + minutes(9));
  EXPECT_LT(left[0].call.deadline, start + minutes(11));
  EXPECT_EQ(left[1].call.deadline, CallRecord::Clock::time_point::max());
}

TEST_F(FrontDoorTest, KeepsReservedWhatAnAnswerTakesAsLongAsItsBytes) {
  for (const bool in_a_stream : {false, true}) {
    v1::ForwardStreamRequest request;
    *request.mutable_request() = MakeRequest("m", /*length=*/10'000);
    grpc::ByteBuffer message = in_a_stream
                                   ? SerializeMessage(request)
                                   : SerializeMessage(request.request());
    std::unique_ptr<RequestCodec> codec =
        std::make_unique<AttentionCodec>(service_.buffers());
    if (in_a_stream)
      codec = std::make_unique<AttentionStreamCodec>(service_.buffers());

    ASSERT_TRUE(service_.Handle(CallRecord(), std::move(codec), &message).ok());

    EXPECT_GT(message.Length(), 10'000U * 8 * 4);
    EXPECT_GE(service_.admission().reserved_bytes(), message.Length());
    message.Clear();
    EXPECT_EQ(service_.admission().reserved_bytes(), 0U);
  }
}

TEST_F(FrontDoorTest, SeesEveryRequestOfAStreamAndTheStream) {
  v1::ForwardStreamRequest good;
  good.set_id(1);
  *good.mutable_request() = MakeRequest("m");
  v1::ForwardStreamRequest bad = good;
  bad.set_id(2);
  bad.mutable_request()->set_module("unknown");

  const RawStreamResult result = StreamRaw(
      service_.channel(), kForwardStream,
      {"\xFF\xFF\xFF", bad.SerializeAsString(), good.SerializeAsString()});

  EXPECT_EQ(result.answers.size(), 3U);
  EXPECT_THAT(Seen(),
              ElementsAre("request ForwardStream INVALID_ARGUMENT",
                          "request ForwardStream NOT_FOUND",
                          "request ForwardStream OK", "call ForwardStream OK"));
  const CallRecord call = service_.observer().left()[2].call;
  EXPECT_THAT(call.caller.peer, StartsWith("ipv4:127.0.0.1:"));
  EXPECT_EQ(call.request_bytes, good.ByteSizeLong());
  EXPECT_EQ(call.response_bytes, result.answers[2].size());
}

TEST_F(FrontDoorTest, SeesADuplicateIdAndWhatAStreamThatIsCancelledHeld) {
  service_.Hold();
  grpc::ClientContext context;
  const auto stream = service_.stub().ForwardStream(&context);
  v1::ForwardStreamRequest request;
  request.set_id(7);
  *request.mutable_request() = MakeRequest("m");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Write(request));
  v1::ForwardStreamResponse answer;
  ASSERT_TRUE(stream->Read(&answer));

  context.TryCancel();
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_TRUE(service_.calls().WaitIdle(std::chrono::minutes(1)));
  service_.Release();

  EXPECT_THAT(Seen(), ElementsAre("request ForwardStream INVALID_ARGUMENT",
                                  "request ForwardStream CANCELLED",
                                  "call ForwardStream CANCELLED"));
}

TEST_F(FrontDoorTest, SeesWhyARequestLeftAfterItsStream) {
  std::promise<void> entered;
  std::promise<void> ended;
  service_.observer().OnRequestEntered([&] {
    entered.set_value();
    ended.get_future().wait();
  });
  grpc::ClientContext context;
  const auto stream = service_.stub().ForwardStream(&context);
  v1::ForwardStreamRequest request;
  *request.mutable_request() = MakeRequest("m");
  ASSERT_TRUE(stream->Write(request));
  entered.get_future().wait();

  service_.service().Drain();
  ended.set_value();

  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(Seen(), ElementsAre("call ForwardStream UNAVAILABLE",
                                  "request ForwardStream UNAVAILABLE"));
}

TEST_F(FrontDoorTest, SeesAnUnknownMethod) {
  EXPECT_FALSE(CallRaw(service_.channel(), "/x.Y/Z", "x").ok());

  EXPECT_THAT(Seen(), ElementsAre("call unknown UNIMPLEMENTED"));
}

TEST_F(FrontDoorTest, SeesTheCallsThatManageModules) {
  const auto stub = v1::ModuleService::NewStub(service_.channel());
  const auto call = [&](auto method, const auto& request, auto response) {
    grpc::ClientContext context;
    return ((*stub).*method)(&context, request, &response).error_code();
  };
  using Stub = v1::ModuleService::Stub;
  v1::GetModuleRequest get;
  get.set_name("m");
  v1::LoadModuleRequest load;
  load.set_name("n");
  v1::UnloadModuleRequest unload;
  unload.set_name("a\nb");

  call(&Stub::ListModules, v1::ListModulesRequest(), v1::ListModulesResponse());
  call(&Stub::GetModule, get, v1::GetModuleResponse());
  call(&Stub::LoadModule, load, v1::LoadModuleResponse());
  call(&Stub::UnloadModule, unload, v1::UnloadModuleResponse());
  static_cast<void>(StreamRaw(service_.channel(),
                              "/attention.v1.ModuleService/UploadModule", {}));

  EXPECT_THAT(Seen(), ElementsAre("call ListModules OK", "call GetModule OK",
                                  "call LoadModule NOT_FOUND",
                                  "call UnloadModule INVALID_ARGUMENT",
                                  "call UploadModule INVALID_ARGUMENT"));
  const auto left = service_.observer().left();
  EXPECT_EQ(left[1].call.module, "m");
  EXPECT_GT(left[1].call.response_bytes, 0U);
  EXPECT_EQ(left[2].call.module, "n");
  EXPECT_EQ(left[3].call.module, "");
}

TEST_F(FrontDoorTest, SeesReflection) {
  const std::string method =
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
  grpc::reflection::v1::ServerReflectionRequest request;
  request.set_list_services("*");

  const RawStreamResult result =
      StreamRaw(service_.channel(), method, {request.SerializeAsString()});

  EXPECT_THAT(Seen(), ElementsAre("call ServerReflectionInfo OK"));
  const CallRecord call = service_.observer().left().front().call;
  EXPECT_EQ(call.method, method);
  EXPECT_EQ(call.request_bytes, request.ByteSizeLong());
  EXPECT_EQ(call.response_bytes, result.answers.front().size());
}

TEST(VisitTest, LeavesOnceAlsoWhenItIsMovedAndDropped) {
  RecordingObserver observer;

  {
    Visit first(observer, /*context=*/nullptr, CallRecord());
    Visit second(std::move(first));
    EXPECT_EQ(second.Leave(absl::NotFoundError("gone")).error_message(),
              "gone");
    const Visit dropped(observer, /*context=*/nullptr, CallRecord());
  }

  EXPECT_EQ(observer.num_entered(), 2U);
  const auto left = observer.left();
  ASSERT_EQ(left.size(), 2U);
  EXPECT_EQ(left[0].code, absl::StatusCode::kNotFound);
  EXPECT_EQ(left[1].code, absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace attention::testing
