// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/health_message.h"

#include "absl/status/status.h"
#include "grpc/health/v1/health.pb.h"

namespace attention {

std::string EncodeHealthCheckRequest(std::string_view service) {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(std::string(service));
  return request.SerializeAsString();
}

absl::StatusOr<std::int64_t> DecodeHealthCheckResponse(
    std::string_view message) {
  grpc::health::v1::HealthCheckResponse response;
  if (!response.ParseFromString(std::string(message))) {
    return absl::InternalError(
        "malformed answer from the server: not a HealthCheckResponse");
  }
  return static_cast<std::int64_t>(response.status());
}

}  // namespace attention
