// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>

#include "server/rpc/forward_handler.h"
#include "server/rpc/front_door.h"
#include "server/rpc/request_codec.h"

namespace attention {

/// Answer a unary call that is one forward request, in the protocol of `codec`.
/// The request's bytes are freed. Thread-safe.
/// \param handler is borrowed until gRPC is done with the call.
[[nodiscard]] grpc::ServerUnaryReactor* ServeForward(
    const ForwardHandler& handler, const UnaryCall& call,
    std::unique_ptr<RequestCodec> codec);

}  // namespace attention
