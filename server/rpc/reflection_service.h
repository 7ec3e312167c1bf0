// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "core/tensor/format_text.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/rpc/front_door.h"

namespace attention {

/// Describe the served services, all their files import, and nothing else.
/// Thread-safe.
[[nodiscard]] grpc::reflection::v1::ServerReflectionResponse Reflect(
    const grpc::reflection::v1::ServerReflectionRequest& request);

/// Answer a stream of requests of either version, whose bytes are the same.
/// \param door, method outlive it.
[[nodiscard]] grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
OpenReflectionStream(const FrontDoor& door, std::string_view method,
                     grpc::CallbackServerContext* context);

/// ServerReflection of one version. gRPC's own serves v1alpha alone and holds a
/// thread for each open stream. Thread-safe.
template <typename ServerReflection>
class ReflectionService final
    : public ServerReflection::
          template WithRawCallbackMethod_ServerReflectionInfo<
              typename ServerReflection::Service> {
 public:
  /// \param door is borrowed.
  explicit ReflectionService(const FrontDoor& door) : door_(door) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override {
    return OpenReflectionStream(door_, method_, context);
  }

 private:
  const FrontDoor& door_;
  const std::string method_ = FormatText("/{}/ServerReflectionInfo",
                                         ServerReflection::service_full_name());
};

}  // namespace attention
