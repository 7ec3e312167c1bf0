// SPDX-License-Identifier: Apache-2.0
#include "tests/server/gated_service.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "core/tensor/random_tensor.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"
#include "tests/testing/attention_case.h"

namespace attention::testing {
namespace {

constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxModuleBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxReceiveBytes = std::size_t{64} << 20;

std::shared_ptr<const AttentionModule> MakeModule(std::uint64_t version) {
  const MultiHeadAttentionConfig config = MakeTestModule().config;
  return AttentionModule::Create(
             {.name = "m", .version = version, .weights_digest = ""}, config,
             MakeWeights(config, DataType::kFloat32, /*seed=*/1))
      .value();
}

// A task that holds the executor until it is released, and computes nothing.
class Blocker final : public ForwardTask::Caller {
 public:
  Blocker(std::promise<void>* started, std::shared_future<void> released)
      : started_(started), released_(std::move(released)) {}

  [[nodiscard]] ForwardTask::Work MakeWork() const {
    AttentionInputs inputs;
    inputs.query = query_.view();
    ForwardTask::Work work;
    work.module = MakeModule(/*version=*/1);
    work.request = ResolveRequest(MakeTestModule().config, inputs).value();
    return work;
  }

  [[nodiscard]] bool IsCancelled() const override { return false; }
  [[nodiscard]] AttentionOutputs AllocateOutputs(const OutputShapes&,
                                                 DataType) override {
    started_->set_value();
    released_.wait();
    throw std::bad_alloc();
  }
  void Complete(const absl::Status&, const ForwardTask::Times&) override {}

 private:
  const Tensor query_ = RandomTensor(DataType::kFloat32, {1, 8}, /*seed=*/1);
  std::promise<void>* const started_;
  const std::shared_future<void> released_;
};

}  // namespace

GatedService::GatedService(std::size_t budget_bytes)
    : admission_(budget_bytes),
      executor_({.num_threads = 1}, &observer_),
      door_({.state = state_,
             .admission = admission_,
             .observer = observer_,
             .answers = answers_}),
      handler_({.door = door_,
                .registry = registry_,
                .executor = executor_,
                .buffers = buffers_,
                .max_message_bytes = kMaxMessageBytes}),
      manager_(registry_, /*repository=*/nullptr,
               {.max_loaded_bytes = kMaxModuleBytes}),
      service_(handler_),
      module_service_({.door = door_,
                       .manager = manager_,
                       .max_module_bytes = kMaxModuleBytes}),
      reflection_(door_),
      unknown_methods_(door_) {
  ModuleRegistry::LoadTicket ticket =
      registry_.BeginLoad("m", /*replace=*/false).value();
  const std::uint64_t version = ticket.version();
  std::move(ticket).Publish(MakeModule(version));
  grpc::ServerBuilder builder;
  builder.RegisterService(&service_);
  builder.RegisterService(&module_service_);
  builder.RegisterService(&reflection_);
  builder.RegisterCallbackGenericService(&unknown_methods_);
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  server_ = builder.BuildAndStart();
  channel_ = Connect("127.0.0.1:" + std::to_string(port));
  stub_ = v1::AttentionService::NewStub(channel_);
}

GatedService::~GatedService() { Stop(); }

grpc::Status GatedService::Handle(CallRecord record,
                                  std::unique_ptr<RequestCodec> codec,
                                  grpc::ByteBuffer* message) {
  auto admitted = door_.Admit(*codec, message);
  std::promise<grpc::Status> done;
  handler_.Handle(
      std::make_shared<ForwardCall>(
          Visit(observer_, /*context=*/nullptr, std::move(record)),
          std::move(codec),
          [&](const grpc::Status& status, grpc::ByteBuffer* answer) {
            message->Swap(answer);
            done.set_value(status);
          }),
      std::move(admitted));
  return done.get_future().get();
}

void GatedService::Hold() {
  std::promise<void> started;
  release_ = std::promise<void>();
  const auto blocker =
      std::make_shared<Blocker>(&started, release_.get_future().share());
  executor_.Submit(std::make_unique<ForwardTask>(blocker->MakeWork(), blocker));
  started.get_future().wait();
}

void GatedService::Release() { release_.set_value(); }

void GatedService::WaitForARequest() const {
  while (admission_.reserved_bytes() == 0) std::this_thread::yield();
}

void GatedService::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
  // Once the executor takes another task, nothing of those before it is left.
  Hold();
  Release();
}

std::vector<std::string> GatedService::Seen() {
  EXPECT_TRUE(calls().WaitIdle(std::chrono::minutes(1)));
  Stop();
  std::vector<std::string> seen;
  for (const auto& [call, code] : observer_.left()) {
    const std::string_view method =
        call.method.substr(call.method.rfind('/') + 1);
    seen.push_back((call.is_stream_request ? "request " : "call ") +
                   std::string(method) + " " + absl::StatusCodeToString(code));
  }
  EXPECT_EQ(observer_.num_entered(), seen.size());
  return seen;
}

}  // namespace attention::testing
