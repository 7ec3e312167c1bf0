// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/attention_service.h"

#include <memory>
#include <utility>

#include "server/rpc/message_bytes.h"
#include "server/rpc/rpc_context.h"

namespace attention {
namespace {

// Answers one Forward. Deletes itself when gRPC is done with the call, which is
// after the call has completed and OnCancel has returned.
class ForwardReactor final : public grpc::ServerUnaryReactor {
 public:
  ForwardReactor(const ForwardHandler& handler, CallTracker& calls,
                 grpc::CallbackServerContext* context,
                 grpc::ByteBuffer* response)
      : handler_(handler),
        token_(calls),
        context_(context),
        response_(response) {}

  void Start(grpc::ByteBuffer* bytes) {
    const auto received = ForwardCall::Clock::now();
    auto request = std::make_unique<v1::ForwardRequest>();
    absl::StatusOr<AdmissionController::Reservation> reservation =
        ParseForwardMessage(bytes, handler_.admission(), request.get());
    if (!reservation.ok()) {
      return Finish(ToRpcStatus(reservation.status(), context_));
    }
    call_ = std::make_shared<ForwardCall>(
        std::move(request), received, Deadline(*context_),
        [this](const absl::Status& status,
               const std::shared_ptr<const ForwardAnswer>& answer) {
          if (status.ok()) *response_ = SerializeAnswer(answer);
          Finish(ToRpcStatus(status, context_));
        });
    call_->SetReservation(*std::move(reservation));
    handler_.Handle(call_);
  }

 private:
  // Not called before Start has returned to gRPC, which is what makes reading
  // call_ safe.
  void OnCancel() override {
    if (call_ != nullptr) handler_.Cancel(*call_);
  }
  void OnDone() override { delete this; }

  const ForwardHandler& handler_;
  const CallTracker::Token token_;
  grpc::CallbackServerContext* context_;
  grpc::ByteBuffer* response_;
  std::shared_ptr<ForwardCall> call_;
};

}  // namespace

grpc::ServerUnaryReactor* AttentionServiceImpl::Forward(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  auto* reactor = new ForwardReactor(handler_, calls_, context, response);
  // The buffer is the call's own and nobody reads it after us; emptying it
  // halves what a request holds.
  reactor->Start(const_cast<grpc::ByteBuffer*>(request));
  return reactor;
}

}  // namespace attention
