// SPDX-License-Identifier: Apache-2.0
// Uploads and streams leave by the front door once, too, whoever ends them.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "attention/v1/module_service.grpc.pb.h"
#include "tests/server/gated_service.h"
#include "tests/server/log_capture.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"

namespace attention::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kUploadModule[] = "/attention.v1.ModuleService/UploadModule";

std::vector<std::string> UploadMessages(const std::string& name) {
  const TestModule module = MakeTestModule();
  return module.UploadMessages(module.Header(name));
}

class UploadEndTest : public ::testing::Test {
 protected:
  UploadEndTest() : stub_(v1::ModuleService::NewStub(service_.channel())) {}

  RawStreamResult Upload(const std::string& name) {
    return StreamRaw(service_.channel(), kUploadModule, UploadMessages(name));
  }

  // Open an upload and have the server end it by `end`.
  grpc::Status OpenAndEnd(const std::function<void()>& end) {
    grpc::ClientContext context;
    v1::UploadModuleResponse response;
    const auto upload = stub_->UploadModule(&context, &response);
    // Until it ends what is open: the upload may be on its way.
    while (service_.observer().left().empty()) {
      end();
      std::this_thread::yield();
    }
    return upload->Finish();
  }

  GatedService service_;
  const std::unique_ptr<v1::ModuleService::Stub> stub_;
};

TEST_F(UploadEndTest, SeesAnUploadThatSucceeds) {
  const std::vector<std::string> messages = UploadMessages("new");

  const RawStreamResult result =
      StreamRaw(service_.channel(), kUploadModule, messages);

  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_THAT(service_.Seen(), ElementsAre("call UploadModule OK"));
  const CallRecord call = service_.observer().left().front().call;
  EXPECT_EQ(call.method, kUploadModule);
  EXPECT_EQ(call.module, "new");
  EXPECT_EQ(call.request_bytes, messages[0].size() + messages[1].size());
  EXPECT_EQ(call.response_bytes, result.answers.front().size());
}

TEST_F(UploadEndTest, SeesAnUploadThatEndsIdle) {
  const grpc::Status status = OpenAndEnd(
      [this] { service_.module_service().EndIdleUploads(milliseconds(0)); });

  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_THAT(service_.Seen(),
              ElementsAre("call UploadModule DEADLINE_EXCEEDED"));
}

TEST_F(UploadEndTest, SeesAnUploadThatIsDrained) {
  const grpc::Status status =
      OpenAndEnd([this] { service_.module_service().Drain(); });

  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(service_.Seen(), ElementsAre("call UploadModule UNAVAILABLE"));
}

// Keeps the loading thread, once it serves a module "held", until Release.
class LoadingThreadGate {
 public:
  LoadingThreadGate()
      : log_([this](std::string_view line) {
          if (!line.starts_with("info serving module held ")) return;
          held_.set_value();
          released_.get_future().wait();
        }) {}

  // Return whether it came to that within a minute.
  [[nodiscard]] bool WaitUntilHeld() {
    return held_.get_future().wait_for(std::chrono::minutes(1)) ==
           std::future_status::ready;
  }
  void Release() { released_.set_value(); }

 private:
  std::promise<void> held_;
  std::promise<void> released_;
  const LogCapture log_;
};

class HeldLoadTest : public UploadEndTest {
 protected:
  HeldLoadTest()
      : held_(std::async(std::launch::async, [this] {
          return Upload("held").status.error_code();
        })) {
    EXPECT_TRUE(gate_.WaitUntilHeld());
  }

  LoadingThreadGate gate_;
  std::future<grpc::StatusCode> held_;
};

TEST_F(HeldLoadTest, SeesWhatHasComeWholeSucceedThoughItIsDrained) {
  service_.module_service().EndIdleUploads(milliseconds(0));
  service_.module_service().Drain();
  gate_.Release();

  EXPECT_EQ(held_.get(), grpc::OK);
  EXPECT_THAT(service_.Seen(), ElementsAre("call UploadModule OK"));
}

TEST_F(HeldLoadTest, SeesWhatTheLoadingThreadHasNoRoomFor) {
  constexpr std::size_t kMaxQueuedLoads = 64;
  struct Call {
    grpc::ClientContext context;
    v1::LoadModuleResponse response;
  };
  std::array<Call, kMaxQueuedLoads + 1> calls;
  std::promise<grpc::Status> first;
  std::atomic<bool> is_first = true;
  std::latch answered(calls.size());
  v1::LoadModuleRequest request;
  request.set_name("n");
  for (Call& call : calls) {
    stub_->async()->LoadModule(&call.context, &request, &call.response,
                               [&](const grpc::Status& status) {
                                 if (is_first.exchange(false)) {
                                   first.set_value(status);
                                 }
                                 answered.count_down();
                               });
  }

  const grpc::Status refused = first.get_future().get();
  const grpc::Status upload = Upload("new").status;
  gate_.Release();
  answered.wait();

  EXPECT_EQ(held_.get(), grpc::OK);
  EXPECT_EQ(refused.error_message(),
            "too many modules are waiting to be loaded");
  EXPECT_EQ(upload.error_message(), refused.error_message());
  std::vector<std::string> seen = service_.Seen();
  ASSERT_EQ(seen.size(), 3 + kMaxQueuedLoads);
  EXPECT_EQ(seen[0], "call LoadModule RESOURCE_EXHAUSTED");
  EXPECT_EQ(seen[1], "call UploadModule RESOURCE_EXHAUSTED");
  EXPECT_EQ(seen[2], "call UploadModule OK");
  seen.erase(seen.begin(), seen.begin() + 3);
  EXPECT_THAT(seen, Each("call LoadModule NOT_FOUND"));
}

// How the server ends streams.
struct StreamEnd {
  const char* name;
  void (*end)(AttentionServiceImpl& service);
  const char* text;
};

class StreamEndTest : public ::testing::TestWithParam<StreamEnd> {
 protected:
  GatedService service_;
};

TEST_P(StreamEndTest, SeesWhatTheStreamHasReadAndTheStream) {
  service_.Hold();
  grpc::ClientContext context;
  const auto stream = service_.stub().ForwardStream(&context);
  v1::ForwardStreamRequest request;
  request.set_id(1);
  *request.mutable_request() = MakeRequest("m");
  ASSERT_TRUE(stream->Write(request));
  request.set_id(2);
  request.mutable_request()->set_module("unknown");
  ASSERT_TRUE(stream->Write(request));
  v1::ForwardStreamResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  ASSERT_EQ(answer.id(), 2U);  // so 1, which is held, has been read

  GetParam().end(service_.service());
  service_.Release();

  EXPECT_TRUE(stream->Read(&answer));
  EXPECT_TRUE(answer.has_response());
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr(GetParam().text));
  EXPECT_THAT(service_.Seen(), ElementsAre("request ForwardStream NOT_FOUND",
                                           "request ForwardStream OK",
                                           "call ForwardStream UNAVAILABLE"));
}

INSTANTIATE_TEST_SUITE_P(
    Ends, StreamEndTest,
    ::testing::Values(StreamEnd{"Drained",
                                [](AttentionServiceImpl& service) {
                                  service.Drain();
                                },
                                "the server is shutting down"},
                      StreamEnd{"Aged",
                                [](AttentionServiceImpl& service) {
                                  service.EndStreamsOlderThan(milliseconds(0));
                                },
                                "open a new one"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(StreamAfterDrainTest, IsSeenToBeRefused) {
  GatedService service;
  service.service().Drain();
  grpc::ClientContext context;

  const auto stream = service.stub().ForwardStream(&context);

  EXPECT_EQ(stream->Finish().error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(service.Seen(), ElementsAre("call ForwardStream UNAVAILABLE"));
}

}  // namespace
}  // namespace attention::testing
