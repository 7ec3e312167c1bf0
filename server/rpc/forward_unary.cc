// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_unary.h"

#include <memory>
#include <utility>

#include "server/rpc/answer_watch.h"

namespace attention {
namespace {

// Answers one call. Deletes itself when gRPC is done with it, which is after
// the call has completed and OnCancel has returned.
class ForwardReactor final : public grpc::ServerUnaryReactor {
 public:
  ForwardReactor(const ForwardHandler& handler,
                 grpc::CallbackServerContext* context)
      : handler_(handler),
        token_(handler.door().calls()),
        unread_(handler.door().answers(), context) {}

  void Start(const UnaryCall& call, std::unique_ptr<RequestCodec> codec) {
    // The buffer is the call's own and nobody reads it after us; emptying it
    // halves what a request holds.
    auto* message = const_cast<grpc::ByteBuffer*>(call.request);
    FrontDoor& door = handler_.door();
    Visit visit = door.Enter(call.method, call.context);
    visit.AddMessage(message->Length());
    auto admitted = door.Admit(*codec, message);
    call_ = std::make_shared<ForwardCall>(
        std::move(visit), std::move(codec),
        [this, response = call.response](const grpc::Status& status,
                                         grpc::ByteBuffer* answer) {
          response->Swap(answer);
          unread_.Give(response->Length(), AnswerWatch::Clock::now());
          Finish(status);
        });
    handler_.Handle(call_, std::move(admitted));
  }

 private:
  // Not called before Start has returned to gRPC, which is what makes reading
  // call_ safe.
  void OnCancel() override { handler_.Cancel(*call_); }
  void OnDone() override { delete this; }

  const ForwardHandler& handler_;
  const CallTracker::Token token_;
  AnswerWatch::Call unread_;
  std::shared_ptr<ForwardCall> call_;
};

}  // namespace

grpc::ServerUnaryReactor* ServeForward(const ForwardHandler& handler,
                                       const UnaryCall& call,
                                       std::unique_ptr<RequestCodec> codec) {
  auto reactor = std::make_unique<ForwardReactor>(handler, call.context);
  reactor->Start(call, std::move(codec));
  return reactor.release();
}

}  // namespace attention
