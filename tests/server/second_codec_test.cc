// SPDX-License-Identifier: Apache-2.0
// A protocol that is not ours, served through the front door: what a second
// codec has to write.
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/rpc/forward_unary.h"
#include "tests/server/gated_service.h"
#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

constexpr std::int64_t kEmbedDim = 8;

// "MODULE:" and then the rows of a query, float32; the answer is the output.
class ToyCodec final : public RequestCodec {
 public:
  absl::StatusOr<std::size_t> ParsingBytes(grpc::ByteBuffer* message) override {
    return 2 * message->Length();
  }
  absl::StatusOr<std::size_t> Parse(grpc::ByteBuffer* message) override {
    std::vector<grpc::Slice> slices;
    if (!message->Dump(&slices).ok()) return absl::InvalidArgumentError("none");
    for (const auto& s : slices) text_.append(s.begin(), s.end());
    colon_ = text_.find(':');
    if (colon_ != std::string::npos) return text_.size();
    return absl::InvalidArgumentError("expected MODULE:ROWS");
  }
  std::string_view module() const override { return {text_.data(), colon_}; }
  absl::StatusOr<AttentionInputs> Decode() const override {
    const std::size_t num_bytes = text_.size() - colon_ - 1;
    const Shape shape{static_cast<std::int64_t>(num_bytes / 4) / kEmbedDim,
                      kEmbedDim};
    const auto* data = reinterpret_cast<const std::byte*>(text_.data());
    AttentionInputs inputs;
    inputs.query = {data + colon_ + 1, DataType::kFloat32, shape};
    inputs.need_weights = false;
    return inputs;
  }
  std::size_t AnswerBytes(const OutputShapes& shapes, DataType) const override {
    return static_cast<std::size_t>(shapes.output.num_elements()) * 4;
  }
  AttentionOutputs AllocateOutputs(const OutputShapes& shapes,
                                   DataType dtype) override {
    output_.emplace(dtype, shapes.output);
    return {.output = output_->mutable_view(), .weights = std::nullopt};
  }
  void FreeRequest() override { text_.clear(); }
  // The bytes are the output's own and share `self`.
  grpc::ByteBuffer Serialize(const CallRecord&,
                             const std::shared_ptr<const void>& self) override {
    using Owner = std::shared_ptr<const void>;
    const grpc::Slice slice(
        output_->mutable_view().data, output_->num_bytes(),
        [](void* owner) { delete static_cast<Owner*>(owner); },
        new Owner(self));
    return {&slice, 1};
  }

 private:
  std::string text_;
  std::size_t colon_ = 0;
  std::optional<Tensor> output_;
};

// Takes the place of AttentionService's Forward.
class ToyService final
    : public v1::AttentionService::WithRawCallbackMethod_Forward<
          v1::AttentionService::Service> {
 public:
  explicit ToyService(const ForwardHandler& handler) : handler_(handler) {}

  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override {
    return ServeForward(handler_, {"/toy/Forward", context, request, response},
                        std::make_unique<ToyCodec>());
  }

 private:
  const ForwardHandler& handler_;
};

class SecondCodecTest : public ::testing::Test {
 protected:
  SecondCodecTest() : toy_(service_.handler()) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&toy_);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    server_ = builder.BuildAndStart();
    channel_ = Connect("127.0.0.1:" + std::to_string(port));
  }

  grpc::Status Call(const std::string& message, std::string* answer = nullptr) {
    return CallRaw(channel_, "/attention.v1.AttentionService/Forward", message,
                   answer);
  }

  GatedService service_;
  ToyService toy_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(SecondCodecTest, GetsTheAnswerOfTheFirst) {
  v1::ForwardRequest request = MakeRequest("m");
  grpc::ClientContext context;
  v1::ForwardResponse response;
  ASSERT_TRUE(service_.stub().Forward(&context, request, &response).ok());
  // (3, 1, 8), and unbatched (3, 8): the same bytes.
  std::string answer;

  const grpc::Status status = Call("m:" + request.query().data(), &answer);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(answer, response.output().data());
  EXPECT_FALSE(answer.empty());
}

TEST_F(SecondCodecTest, KeepsReservedWhatItsAnswerTakes) {
  const std::string text =
      "m:" + MakeRequest("m", /*length=*/10'000).query().data();
  const grpc::Slice slice(text);
  grpc::ByteBuffer message(&slice, 1);

  ASSERT_TRUE(
      service_.Handle(CallRecord(), std::make_unique<ToyCodec>(), &message)
          .ok());

  EXPECT_EQ(message.Length(), 10'000U * 8 * 4);
  EXPECT_GE(service_.admission().reserved_bytes(), message.Length());
  message.Clear();
  EXPECT_EQ(service_.admission().reserved_bytes(), 0U);
}

TEST_F(SecondCodecTest, IsRefusedByTheSameDoor) {
  EXPECT_EQ(Call("no colon").error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(Call("unknown:").error_message(), "no module 'unknown' is served");
  EXPECT_EQ(Call("../x:").error_code(), grpc::INVALID_ARGUMENT);
  service_.StopServing();
  EXPECT_EQ(Call("m:").error_code(), grpc::UNAVAILABLE);

  EXPECT_EQ(service_.observer().num_entered(), 4U);
  const auto left = service_.observer().left();
  ASSERT_EQ(left.size(), 4U);
  EXPECT_EQ(left[1].call.method, "/toy/Forward");
  EXPECT_EQ(left[1].call.module, "unknown");
  EXPECT_EQ(left[1].code, absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace attention::testing
