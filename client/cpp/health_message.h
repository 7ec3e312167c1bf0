// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace attention {

/// Name of the standard health check's method.
inline constexpr char kHealthCheckMethod[] = "/grpc.health.v1.Health/Check";

/// Serialise grpc.health.v1.HealthCheckRequest{service = 1}.
///
/// gRPC's libraries serve the health protocol without shipping its messages;
/// these two have one field each.
/// Source: https://github.com/grpc/grpc/blob/v1.51.1/doc/health-checking.md
[[nodiscard]] std::string EncodeHealthCheckRequest(std::string_view service);

/// Read the field `status` = 1 of grpc.health.v1.HealthCheckResponse; 0
/// (UNKNOWN) when absent. \return INTERNAL when malformed.
[[nodiscard]] absl::StatusOr<std::int64_t> DecodeHealthCheckResponse(
    std::string_view message);

}  // namespace attention
