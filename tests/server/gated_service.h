// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server.h>

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "attention/v1/attention_service.grpc.pb.h"
#include "server/modules/module_manager.h"
#include "server/rpc/attention_service.h"
#include "server/rpc/front_door.h"
#include "server/rpc/module_service.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/unknown_methods.h"
#include "tests/server/recording_observer.h"

namespace attention::testing {

/// The services in the process, serving a small module "m", with an executor
/// that can be held, so that requests stay queued as long as a test wants, and
/// an observer that keeps what it is told.
class GatedService {
 public:
  explicit GatedService(std::size_t budget_bytes = std::size_t{1} << 30);
  ~GatedService();
  GatedService(const GatedService&) = delete;
  GatedService& operator=(const GatedService&) = delete;

  [[nodiscard]] const std::shared_ptr<grpc::Channel>& channel() const {
    return channel_;
  }
  [[nodiscard]] v1::AttentionService::Stub& stub() { return *stub_; }
  [[nodiscard]] AttentionServiceImpl& service() { return service_; }
  [[nodiscard]] ModuleServiceImpl& module_service() { return module_service_; }
  [[nodiscard]] AdmissionController& admission() { return admission_; }
  [[nodiscard]] CallTracker& calls() { return door_.calls(); }
  [[nodiscard]] RecordingObserver& observer() { return observer_; }
  [[nodiscard]] BufferPool& buffers() { return buffers_; }
  [[nodiscard]] FrontDoor& door() { return door_; }
  [[nodiscard]] const ForwardHandler& handler() const { return handler_; }

  /// Let a request in behind gRPC's back and wait until it has completed.
  /// \param message the request; then the answer.
  [[nodiscard]] grpc::Status Handle(CallRecord record,
                                    std::unique_ptr<RequestCodec> codec,
                                    grpc::ByteBuffer* message);

  /// Refuse new requests.
  void StopServing() { state_ = ServerState::kDraining; }

  /// Keep the executor busy from now on, until Release.
  void Hold();
  void Release();

  /// Wait until a request has reached the budget.
  void WaitForARequest() const;

  /// Stop the server, which waits for every call.
  void Stop();

  /// Stop it once it is idle, and describe what has left, in this order:
  /// "call METHOD CODE", or "request METHOD CODE" for a stream's request. Fails
  /// the test unless that is what has entered.
  [[nodiscard]] std::vector<std::string> Seen();

 private:
  SharedServerState state_{ServerState::kServing};
  RecordingObserver observer_;
  ModuleRegistry registry_;
  AdmissionController admission_;
  BufferPool buffers_{/*max_idle_bytes=*/0};
  AnswerWatch answers_{AnswerLimits{}};
  Executor executor_;
  FrontDoor door_;
  ForwardHandler handler_;
  ModuleManager manager_;
  AttentionServiceImpl service_;
  ModuleServiceImpl module_service_;
  ReflectionService<grpc::reflection::v1::ServerReflection> reflection_;
  UnknownMethods unknown_methods_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AttentionService::Stub> stub_;
  std::promise<void> release_;
};

}  // namespace attention::testing
