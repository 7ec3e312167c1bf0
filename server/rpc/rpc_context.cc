// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/rpc_context.h"

#include "core/serving/admission_controller.h"
#include "proto/wire/status_codec.h"

namespace attention {
namespace {

// Long enough for some requests to finish, short enough not to idle.
constexpr char kRetryPushbackMilliseconds[] = "100";

}  // namespace

std::chrono::steady_clock::time_point Deadline(
    const grpc::ServerContextBase& context) {
  using Steady = std::chrono::steady_clock;
  const auto deadline = context.deadline();
  const auto now = std::chrono::system_clock::now();
  // Beyond a year means never, and the difference below cannot overflow.
  if (deadline > now + std::chrono::years(1)) return Steady::time_point::max();
  return Steady::now() +
         std::chrono::duration_cast<Steady::duration>(deadline - now);
}

grpc::Status ToRpcStatus(const absl::Status& status,
                         grpc::ServerContextBase* context) {
  if (IsOverload(status)) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms",
                                 kRetryPushbackMilliseconds);
  }
  return ToGrpcStatus(status);
}

}  // namespace attention
