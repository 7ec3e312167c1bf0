// SPDX-License-Identifier: Apache-2.0
// Where memory runs out: each time RESOURCE_EXHAUSTED, and the server goes on.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "attention/v1/attention_service.pb.h"
#include "attention/v1/module_service.pb.h"
#include "server/rpc/attention_codec.h"
#include "server/rpc/message_bytes.h"
#include "tests/server/gated_service.h"
#include "tests/server/log_capture.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"
#include "tests/testing/allocation_counter.h"

namespace attention::testing {
namespace {

using ::testing::ElementsAre;

constexpr char kUploadModule[] = "/attention.v1.ModuleService/UploadModule";
constexpr char kReflection[] =
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

void ExpectExhausted(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "memory is exhausted");
}

// The upload of a module "new". \param weights_prefix makes for long texts.
std::vector<std::string> UploadMessages(
    const std::string& weights_prefix = "") {
  const TestModule module = MakeTestModule();
  v1::UploadModuleHeader header = module.Header("new");
  header.set_weights_prefix(weights_prefix);
  return module.UploadMessages(header);
}

class ExhaustedMemoryTest : public ::testing::Test {
 protected:
  ~ExhaustedMemoryTest() override {
    AllocationCounter::FailOneOf(0);
    grpc::ClientContext context;
    v1::ForwardResponse response;
    EXPECT_TRUE(
        service_.stub().Forward(&context, MakeRequest("m"), &response).ok());
  }

  // The codes of what has left, once nothing is under way.
  std::vector<absl::StatusCode> Codes() {
    EXPECT_TRUE(service_.calls().WaitIdle(std::chrono::minutes(1)));
    std::vector<absl::StatusCode> codes;
    for (const auto& [call, code] : service_.observer().left()) {
      codes.push_back(code);
    }
    EXPECT_EQ(service_.observer().num_entered(), codes.size());
    return codes;
  }

  GatedService service_;
};

TEST_F(ExhaustedMemoryTest, EndsAnUploadWhereverItMeetsIt) {
  const std::string prefix(40'001, 'x');
  const std::vector<std::string> messages = UploadMessages(prefix);
  std::size_t num_spared = 0;
  const auto upload = [&] {
    AllocationCounter::FailOneOf(prefix.size() + 1, num_spared);
    return StreamRaw(service_.channel(), kUploadModule, messages).status;
  };

  grpc::Status status = upload();
  while (status.error_code() == grpc::RESOURCE_EXHAUSTED) {
    ExpectExhausted(status);
    ++num_spared;
    status = upload();
  }

  // Without a failure the prefix is found to be wrong.
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_GT(num_spared, 1U);
  EXPECT_EQ(Codes().size(), num_spared + 1);
}

class ExhaustedAnswerTest : public ExhaustedMemoryTest {
 protected:
  // From when the module is served on, the loading thread has no memory for
  // what the answer says of it.
  ExhaustedAnswerTest()
      : log_([](std::string_view line) {
          if (!line.starts_with("info serving module new ")) return;
          AllocationCounter::FailNextHere(sizeof(v1::ModuleInfo));
        }) {}

  const LogCapture log_;
};

TEST_F(ExhaustedAnswerTest, EndsAnUploadThatIsServed) {
  ExpectExhausted(
      StreamRaw(service_.channel(), kUploadModule, UploadMessages()).status);

  EXPECT_THAT(Codes(), ElementsAre(absl::StatusCode::kResourceExhausted));
  grpc::ClientContext context;
  v1::ForwardResponse response;
  EXPECT_TRUE(
      service_.stub().Forward(&context, MakeRequest("new"), &response).ok());
}

TEST_F(ExhaustedMemoryTest, EndsAStreamOfWhichARequestCannotBeTaken) {
  service_.observer().OnRequestEntered(
      [] { AllocationCounter::FailNextHere(); });
  v1::ForwardStreamRequest request;
  *request.mutable_request() = MakeRequest("m");

  const RawStreamResult result = StreamRaw(
      service_.channel(), "/attention.v1.AttentionService/ForwardStream",
      {request.SerializeAsString()});

  ExpectExhausted(result.status);
  EXPECT_THAT(Codes(), ElementsAre(absl::StatusCode::kCancelled,
                                   absl::StatusCode::kResourceExhausted));
}

TEST_F(ExhaustedMemoryTest, EndsAReflectionStream) {
  grpc::reflection::v1::ServerReflectionRequest request;
  request.set_file_containing_symbol("attention.v1.ModuleService");
  const std::vector<std::string> messages = {request.SerializeAsString()};
  const RawStreamResult before =
      StreamRaw(service_.channel(), kReflection, messages);
  ASSERT_TRUE(before.status.ok());

  AllocationCounter::FailOneOf(before.answers.front().size() + 1);

  ExpectExhausted(StreamRaw(service_.channel(), kReflection, messages).status);
  EXPECT_THAT(Codes(), ElementsAre(absl::StatusCode::kOk,
                                   absl::StatusCode::kResourceExhausted));
}

enum class Step : std::uint8_t { kParsingBytes, kParse, kSerialize };

// Has no memory for one step.
class ExhaustedCodec final : public AttentionCodec {
 public:
  ExhaustedCodec(BufferPool& buffers, Step step)
      : AttentionCodec(buffers), step_(step) {}

  absl::StatusOr<std::size_t> ParsingBytes(grpc::ByteBuffer* message) override {
    ThrowAt(Step::kParsingBytes);
    return AttentionCodec::ParsingBytes(message);
  }
  absl::StatusOr<std::size_t> Parse(grpc::ByteBuffer* message) override {
    ThrowAt(Step::kParse);
    return AttentionCodec::Parse(message);
  }
  grpc::ByteBuffer Serialize(const CallRecord& call,
                             const std::shared_ptr<const void>& self) override {
    ThrowAt(Step::kSerialize);
    return AttentionCodec::Serialize(call, self);
  }

 private:
  void ThrowAt(Step step) const {
    if (step == step_) throw std::bad_alloc();
  }

  const Step step_;
};

class ExhaustedCodecTest : public ExhaustedMemoryTest,
                           public ::testing::WithParamInterface<Step> {};

TEST_P(ExhaustedCodecTest, EndsARequest) {
  grpc::ByteBuffer message = SerializeMessage(MakeRequest("m"));

  ExpectExhausted(service_.Handle(
      CallRecord(),
      std::make_unique<ExhaustedCodec>(service_.buffers(), GetParam()),
      &message));

  EXPECT_FALSE(message.Valid());
  EXPECT_EQ(service_.admission().reserved_bytes(), 0U);
  EXPECT_THAT(Codes(), ElementsAre(absl::StatusCode::kResourceExhausted));
}

TEST(ExhaustedStreamCodecTest, KeepsTheIdOfARequestThatCannotBeParsed) {
  v1::ForwardStreamRequest request;
  request.set_id(7);
  *request.mutable_request() = MakeRequest("m");
  grpc::ByteBuffer message = SerializeMessage(request);
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionStreamCodec codec(buffers);
  ASSERT_TRUE(codec.ParsingBytes(&message).ok());

  AllocationCounter::FailNextHere();
  const absl::StatusOr<std::size_t> parsed = codec.Parse(&message);

  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(codec.id(), 7U);
}

INSTANTIATE_TEST_SUITE_P(Steps, ExhaustedCodecTest,
                         ::testing::Values(Step::kParsingBytes, Step::kParse,
                                           Step::kSerialize));

}  // namespace
}  // namespace attention::testing
