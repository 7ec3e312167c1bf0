// SPDX-License-Identifier: Apache-2.0
// Has a race between a handler and its caller, which ThreadSanitizer must
// report: what grpc_edges.cc announces must not order two threads merely
// because both use gRPC and Abseil.
#include <absl/synchronization/mutex.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "attention/v1/attention_service.grpc.pb.h"

namespace attention::testing {
namespace {

// Counts without a lock.
class RacyService final : public v1::AttentionService::CallbackService {
 public:
  grpc::ServerUnaryReactor* Forward(
      grpc::CallbackServerContext* context,
      const v1::ForwardRequest* /*request*/,
      v1::ForwardResponse* /*response*/) override {
    Count();
    arrived_.store(true, std::memory_order_relaxed);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  void CountWhenArrived() {
    while (!arrived_.load(std::memory_order_relaxed)) std::this_thread::yield();
    Count();
  }

 private:
  // Two threads never use the same lock here.
  void Count() {
    absl::Mutex own;
    own.Lock();
    own.Unlock();
    ++num_calls_;
    own.Lock();
    own.Unlock();
  }

  std::atomic<bool> arrived_{false};
  // Apart: ThreadSanitizer remembers only four accesses of eight bytes.
  alignas(64) int num_calls_ = 0;
};

int Main() {
  RacyService service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto stub = v1::AttentionService::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const v1::ForwardRequest request;
  v1::ForwardResponse response;
  std::promise<grpc::Status> done;
  stub->async()->Forward(
      &context, &request, &response,
      [&done](const grpc::Status& status) { done.set_value(status); });
  service.CountWhenArrived();
  const grpc::Status status = done.get_future().get();
  std::printf("the call ended with code %d\n", status.error_code());
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace attention::testing

int main() { return attention::testing::Main(); }
