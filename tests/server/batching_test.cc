// SPDX-License-Identifier: Apache-2.0
// Many callers at once, over a socket: each gets the bits it gets alone.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/safetensors/safetensors_writer.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/forward_codec.h"
#include "tests/core/conformance/mixture.h"
#include "tests/server/async_forward.h"
#include "tests/server/repository/module_tensors.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

constexpr int kRequests = 200;  // of each module

// What a client gets that may not depend on who else asks.
std::string BitsOf(const v1::ForwardResponse& response) {
  return response.output().data() + response.weights().data();
}

// A server of one module of each kind, requests to all of them in random order,
// and what each is answered alone.
class BatchingTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(server_.Start().ok());
    const auto channel = Connect(server_.addresses().front());
    stub_ = v1::AttentionService::NewStub(channel);
    const auto modules = v1::ModuleService::NewStub(channel);
    Draws draws{std::mt19937_64(20261128)};
    for (const Model& model : models_) {
      v1::UploadModuleHeader header;
      header.set_name("m" + std::to_string(model.output_width));
      *header.mutable_config() = EncodeModuleConfig(model.config);
      const ModuleTensors tensors(model.config);
      ASSERT_TRUE(
          Upload(*modules, header,
                 SerializeSafetensors(tensors.views()).value().ToString())
              .ok());
      for (const auto& owned : draws.DrawRequests(model, kRequests)) {
        requests_.push_back(
            EncodeForwardRequest(header.name(), owned->mixture.inputs()));
      }
    }
    std::ranges::shuffle(requests_, draws.random);
    for (const v1::ForwardRequest& request : requests_) {
      grpc::ClientContext context;
      v1::ForwardResponse response;
      ASSERT_TRUE(stub_->Forward(&context, request, &response).ok());
      ASSERT_EQ(response.batch_size(), 1U);
      alone_.push_back(BitsOf(response));
    }
  }

  // Compare an answer with what its request got alone.
  void ExpectAsAlone(std::size_t request, const v1::ForwardResponse& response) {
    ASSERT_TRUE(BitsOf(response) == alone_[request])
        << "bits differ in a batch of " << response.batch_size() << ": "
        << requests_[request].module();
    largest_batch_ = std::max(largest_batch_, response.batch_size());
  }

  static ServerOptions Options() {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.threads = GetParam();
    options.batch.max_tokens = 256;  // so that some requests are large
    return options;
  }

  const std::vector<Model> models_ = Models();
  Server server_{Options()};
  std::unique_ptr<v1::AttentionService::Stub> stub_;
  std::vector<v1::ForwardRequest> requests_;
  std::vector<std::string> alone_;
  std::uint32_t largest_batch_ = 0;
};

TEST_P(BatchingTest, UnaryCallsGetTheBitsTheyGetAlone) {
  std::vector<std::unique_ptr<AsyncForward>> calls;
  for (const v1::ForwardRequest& request : requests_) {
    calls.push_back(std::make_unique<AsyncForward>(*stub_, request));
  }

  for (std::size_t i = 0; i < calls.size(); ++i) {
    const grpc::Status status = calls[i]->Wait();
    EXPECT_TRUE(status.ok()) << status.error_message();
    ExpectAsAlone(i, calls[i]->response);
  }

  EXPECT_GT(largest_batch_, 1U);
}

TEST_P(BatchingTest, AStreamsRequestsGetTheBitsTheyGetAlone) {
  grpc::ClientContext context;
  const auto stream = stub_->ForwardStream(&context);
  const std::jthread writing([&] {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      v1::ForwardStreamRequest message;
      message.set_id(i);
      *message.mutable_request() = requests_[i];
      if (!stream->Write(message)) return;
    }
    stream->WritesDone();
  });

  std::size_t num_answers = 0;
  v1::ForwardStreamResponse answer;
  for (; stream->Read(&answer); ++num_answers) {
    EXPECT_TRUE(answer.has_response()) << answer.error().message();
    ExpectAsAlone(answer.id(), answer.response());
  }

  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(num_answers, requests_.size());
  EXPECT_GT(largest_batch_, 1U);
}

INSTANTIATE_TEST_SUITE_P(Threads, BatchingTest,
                         ::testing::Values(std::size_t{1}, std::size_t{2}));

}  // namespace
}  // namespace attention::testing
