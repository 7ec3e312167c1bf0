// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace attention {

/// Convert between Abseil's status and gRPC's; code and text are kept, the text
/// made valid UTF-8 and cut to what fits in a trailer (1,000 bytes).
[[nodiscard]] grpc::Status ToGrpcStatus(const absl::Status& status);
[[nodiscard]] absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace attention
