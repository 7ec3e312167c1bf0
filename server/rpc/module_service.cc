// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/module_service.h"

#include <grpcpp/server_context.h>

#include <string>
#include <utility>
#include <vector>

#include "core/module/module_name.h"
#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/module_codec.h"
#include "server/rpc/message_bytes.h"

namespace attention {
namespace {

constexpr std::size_t kMaxQueuedLoads = 64;

// Answers one unary call with `respond(request)`, a StatusOr<Response>. Deletes
// itself when gRPC is done with the call.
template <typename Request, typename Respond>
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  UnaryReactor(FrontDoor& door, const UnaryCall& call, Respond respond)
      : token_(door.calls()),
        visit_(door.Enter(call.method, call.context)),
        unread_(door.answers(), call.context),
        call_(call),
        respond_(std::move(respond)),
        received_(CatchBadAlloc([&] { return Receive(door); })) {}

  // Answer right here.
  void Run() {
    if (!received_.ok()) return Complete(received_);
    Complete(CatchBadAlloc([this] { return Answer(); }));
  }

  // Answer on `thread`, if the client is still there then.
  void RunOn(WorkThread& thread) {
    if (!received_.ok()) return Complete(received_);
    const absl::Status posted = CatchBadAlloc([&]() -> absl::Status {
      const bool has_room = thread.TryPost([this] {
        if (!call_.context->IsCancelled()) return Run();
        Complete(absl::CancelledError("the client has gone"));
      });
      return has_room ? absl::OkStatus() : TooManyLoadsError();
    });
    if (!posted.ok()) Complete(posted);
  }

 private:
  absl::Status Receive(const FrontDoor& door) {
    grpc::ByteBuffer bytes = *call_.request;
    visit_.AddMessage(bytes.Length());
    ATTENTION_RETURN_IF_ERROR(door.CheckServing());
    ATTENTION_RETURN_IF_ERROR(
        ParseMessage(&bytes, kMaxManagementBytes, &request_));
    if constexpr (requires { request_.name(); }) {
      if (ValidateModuleName(request_.name()).ok()) {
        visit_.record().module = request_.name();
      }
    }
    return absl::OkStatus();
  }
  absl::Status Answer() {
    ATTENTION_ASSIGN_OR_RETURN(const auto response, respond_(request_));
    *call_.response = SerializeMessage(response);
    visit_.record().response_bytes = call_.response->Length();
    unread_.Give(call_.response->Length(), AnswerWatch::Clock::now());
    return absl::OkStatus();
  }
  void Complete(const absl::Status& status) { Finish(visit_.Leave(status)); }
  void OnDone() override { delete this; }

  const CallTracker::Token token_;
  Visit visit_;
  AnswerWatch::Call unread_;
  const UnaryCall call_;
  const Respond respond_;
  Request request_;
  const absl::Status received_;
};

template <typename Request, typename Respond>
auto* Receive(FrontDoor& door, const UnaryCall& call, Respond respond) {
  return new UnaryReactor<Request, Respond>(door, call, std::move(respond));
}

template <typename Response>
absl::StatusOr<Response> WithModule(
    const absl::StatusOr<ModuleDescription>& module) {
  if (!module.ok()) return module.status();
  Response response;
  *response.mutable_module() = EncodeModuleDescription(*module);
  return response;
}

}  // namespace

ModuleServiceImpl::ModuleServiceImpl(const Parts& parts)
    : parts_(parts),
      uploads_({.door = parts.door,
                .manager = parts.manager,
                .work_thread = work_thread_,
                .max_module_bytes = parts.max_module_bytes}),
      work_thread_(kMaxQueuedLoads) {}

grpc::ServerUnaryReactor* ModuleServiceImpl::ListModules(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  auto* reactor = Receive<v1::ListModulesRequest>(
      parts_.door,
      {"/attention.v1.ModuleService/ListModules", context, request, response},
      [this](const v1::ListModulesRequest&)
          -> absl::StatusOr<v1::ListModulesResponse> {
        ATTENTION_ASSIGN_OR_RETURN(const std::vector<ModuleDescription> modules,
                                   parts_.manager.List());
        v1::ListModulesResponse list;
        for (const ModuleDescription& module : modules) {
          *list.add_modules() = EncodeModuleDescription(module);
        }
        return list;
      });
  reactor->Run();
  return reactor;
}

grpc::ServerUnaryReactor* ModuleServiceImpl::GetModule(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  auto* reactor = Receive<v1::GetModuleRequest>(
      parts_.door,
      {"/attention.v1.ModuleService/GetModule", context, request, response},
      [this](const v1::GetModuleRequest& get) {
        return WithModule<v1::GetModuleResponse>(
            parts_.manager.Describe(get.name()));
      });
  reactor->Run();
  return reactor;
}

grpc::ServerUnaryReactor* ModuleServiceImpl::LoadModule(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  auto* reactor = Receive<v1::LoadModuleRequest>(
      parts_.door,
      {"/attention.v1.ModuleService/LoadModule", context, request, response},
      [this](const v1::LoadModuleRequest& load) {
        return WithModule<v1::LoadModuleResponse>(
            parts_.manager.Load(load.name(), load.replace()));
      });
  reactor->RunOn(work_thread_);
  return reactor;
}

grpc::ServerReadReactor<grpc::ByteBuffer>* ModuleServiceImpl::UploadModule(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return uploads_.Open(context, response);
}

grpc::ServerUnaryReactor* ModuleServiceImpl::UnloadModule(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  auto* reactor = Receive<v1::UnloadModuleRequest>(
      parts_.door,
      {"/attention.v1.ModuleService/UnloadModule", context, request, response},
      [this](const v1::UnloadModuleRequest& unload)
          -> absl::StatusOr<v1::UnloadModuleResponse> {
        ATTENTION_RETURN_IF_ERROR(parts_.manager.Unload(unload.name()));
        return v1::UnloadModuleResponse();
      });
  reactor->RunOn(work_thread_);
  return reactor;
}

}  // namespace attention
