// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "client/cpp/connection.h"
#include "client/cpp/stream_state.h"

namespace attention {

/// One call, which tells the state what gRPC tells it. Its members beside the
/// message that is being read are guarded by the state's lock.
class ForwardStream::State::Call final
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Call(std::shared_ptr<State> state) : state_(std::move(state)) {}

  // Writes come from outside of reactions, so the call is held until its reads
  // have ended, and with them the writes.
  void Start(grpc::GenericStub& stub) {
    stub.PrepareBidiStreamingCall(
        &context, AttentionClient::Connection::kForwardStreamMethod, {}, this);
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      state_->ReadsEnded();
      RemoveHold();
      return;
    }
    grpc::ByteBuffer message;
    message.Swap(&incoming_);
    StartRead(&incoming_);
    state_->Received(message);
  }
  void OnWriteDone(bool ok) override { state_->Written(ok); }
  void OnDone(const grpc::Status& status) override {
    const AttentionClient::Connection::Callback callback;
    const std::shared_ptr<State> state = state_;
    state->Ended(status);  // deletes this
  }

  grpc::ClientContext context;
  grpc::ByteBuffer outgoing;
  std::uint64_t next_id = 1;  // of what is still to be written
  bool writing = false;
  bool half_closed = false;
  bool reads_ended = false;
  bool answered = false;  // a request

 private:
  const std::shared_ptr<State> state_;
  grpc::ByteBuffer incoming_;
};

}  // namespace attention
