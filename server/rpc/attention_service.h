// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <memory>

#include "attention/v1/attention_service.grpc.pb.h"
#include "server/rpc/attention_codec.h"
#include "server/rpc/forward_handler.h"
#include "server/rpc/forward_stream.h"
#include "server/rpc/forward_unary.h"

namespace attention {

/// AttentionService over raw messages, so that a malformed one gets our
/// INVALID_ARGUMENT and answers leave without being copied. Thread-safe.
class AttentionServiceImpl final
    : public v1::AttentionService::WithRawCallbackMethod_Forward<
          v1::AttentionService::WithRawCallbackMethod_ForwardStream<
              v1::AttentionService::Service>> {
 public:
  /// \param handler is borrowed.
  explicit AttentionServiceImpl(const ForwardHandler& handler)
      : handler_(handler), streams_(handler) {}

  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override {
    return ServeForward(
        handler_,
        {"/attention.v1.AttentionService/Forward", context, request, response},
        std::make_unique<AttentionCodec>(handler_.buffers()));
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ForwardStream(
      grpc::CallbackServerContext* context) override {
    return streams_.Open(context);
  }

  /// End every stream once what it has read is answered.
  void Drain() { streams_.Drain(); }

  /// The same for streams that have been open at least so long.
  void EndStreamsOlderThan(std::chrono::milliseconds age) {
    streams_.EndOlderThan(age);
  }

 private:
  const ForwardHandler& handler_;
  ForwardStreams streams_;
};

}  // namespace attention
