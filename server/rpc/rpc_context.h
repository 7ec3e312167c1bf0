// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>

#include <chrono>

#include "absl/status/status.h"

namespace attention {

/// Return when the client stops waiting; the largest time if never.
[[nodiscard]] std::chrono::steady_clock::time_point Deadline(
    const grpc::ServerContextBase& context);

/// Convert the outcome of a call, telling the client of an overloaded server
/// when to try again (`grpc-retry-pushback-ms`).
[[nodiscard]] grpc::Status ToRpcStatus(const absl::Status& status,
                                       grpc::ServerContextBase* context);

}  // namespace attention
