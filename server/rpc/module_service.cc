// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/module_service.h"

#include <new>
#include <string>
#include <utility>

#include "server/rpc/message_bytes.h"
#include "server/rpc/rpc_context.h"

namespace attention {
namespace {

constexpr std::size_t kMaxQueuedLoads = 64;

// Answers one unary call. Deletes itself when gRPC is done with the call.
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  UnaryReactor(CallTracker& calls, grpc::CallbackServerContext* context)
      : token_(calls), context_(context) {}

  void Complete(const absl::Status& status) {
    Finish(ToRpcStatus(status, context_));
  }

 private:
  void OnDone() override { delete this; }

  const CallTracker::Token token_;
  grpc::CallbackServerContext* context_;
};

// The arguments gRPC calls a raw unary method with.
struct RawCall {
  grpc::CallbackServerContext* context;
  const grpc::ByteBuffer* request;
  grpc::ByteBuffer* response;
};

template <typename Request>
absl::StatusOr<Request> Receive(const SharedServerState& state,
                                const RawCall& call) {
  absl::Status serving = CheckServing(state);
  if (!serving.ok()) return serving;
  grpc::ByteBuffer bytes = *call.request;
  Request request;
  absl::Status parsed = ParseMessage(&bytes, kMaxManagementBytes, &request);
  if (!parsed.ok()) return parsed;
  return request;
}

// Answer with `respond(request)`, a StatusOr<Response>, right here.
template <typename Request, typename Respond>
grpc::ServerUnaryReactor* RespondNow(const ModuleServiceImpl::Parts& parts,
                                     const RawCall& call, Respond respond) {
  auto* reactor = new UnaryReactor(parts.calls, call.context);
  const absl::StatusOr<Request> request = Receive<Request>(parts.state, call);
  if (!request.ok()) {
    reactor->Complete(request.status());
    return reactor;
  }
  const auto response = respond(*request);
  if (response.ok()) *call.response = SerializeMessage(*response);
  reactor->Complete(response.status());
  return reactor;
}

// The same on `thread`.
template <typename Request, typename Respond>
grpc::ServerUnaryReactor* RespondLater(const ModuleServiceImpl::Parts& parts,
                                       const RawCall& call, WorkThread& thread,
                                       Respond respond) {
  auto* reactor = new UnaryReactor(parts.calls, call.context);
  absl::StatusOr<Request> request = Receive<Request>(parts.state, call);
  if (!request.ok()) {
    reactor->Complete(request.status());
    return reactor;
  }
  const bool posted =
      thread.TryPost([reactor, respond, request = *std::move(request), call] {
        absl::Status status = absl::CancelledError("the client has gone");
        if (!call.context->IsCancelled()) {
          try {
            const auto response = respond(request);
            if (response.ok()) *call.response = SerializeMessage(*response);
            status = response.status();
          } catch (const std::bad_alloc&) {
            status = absl::ResourceExhaustedError("memory is exhausted");
          }
        }
        reactor->Complete(status);
      });
  if (!posted) reactor->Complete(TooManyLoadsError());
  return reactor;
}

template <typename Response>
absl::StatusOr<Response> WithModule(absl::StatusOr<v1::ModuleInfo> info) {
  if (!info.ok()) return info.status();
  Response response;
  *response.mutable_module() = *std::move(info);
  return response;
}

}  // namespace

ModuleServiceImpl::ModuleServiceImpl(const Parts& parts)
    : parts_(parts),
      uploads_({.state = parts.state,
                .manager = parts.manager,
                .calls = parts.calls,
                .work_thread = work_thread_,
                .max_module_bytes = parts.max_module_bytes}),
      work_thread_(kMaxQueuedLoads) {}

grpc::ServerUnaryReactor* ModuleServiceImpl::ListModules(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return RespondNow<v1::ListModulesRequest>(
      parts_, {context, request, response},
      [this](const v1::ListModulesRequest&)
          -> absl::StatusOr<v1::ListModulesResponse> {
        absl::StatusOr<std::vector<v1::ModuleInfo>> modules =
            parts_.manager.List();
        if (!modules.ok()) return modules.status();
        v1::ListModulesResponse list;
        for (v1::ModuleInfo& info : *modules) {
          *list.add_modules() = std::move(info);
        }
        return list;
      });
}

grpc::ServerUnaryReactor* ModuleServiceImpl::GetModule(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return RespondNow<v1::GetModuleRequest>(
      parts_, {context, request, response},
      [this](const v1::GetModuleRequest& get) {
        return WithModule<v1::GetModuleResponse>(
            parts_.manager.Describe(get.name()));
      });
}

grpc::ServerUnaryReactor* ModuleServiceImpl::LoadModule(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return RespondLater<v1::LoadModuleRequest>(
      parts_, {context, request, response}, work_thread_,
      [this](const v1::LoadModuleRequest& load) {
        return WithModule<v1::LoadModuleResponse>(
            parts_.manager.Load(load.name(), load.replace()));
      });
}

grpc::ServerReadReactor<grpc::ByteBuffer>* ModuleServiceImpl::UploadModule(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return uploads_.Open(context, response);
}

grpc::ServerUnaryReactor* ModuleServiceImpl::UnloadModule(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return RespondLater<v1::UnloadModuleRequest>(
      parts_, {context, request, response}, work_thread_,
      [this](const v1::UnloadModuleRequest& unload)
          -> absl::StatusOr<v1::UnloadModuleResponse> {
        absl::Status status = parts_.manager.Unload(unload.name());
        if (!status.ok()) return status;
        return v1::UnloadModuleResponse();
      });
}

}  // namespace attention
