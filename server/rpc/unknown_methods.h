// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/generic/async_generic_service.h>

#include <string_view>

#include "absl/status/status.h"
#include "server/rpc/front_door.h"

namespace attention {

/// Return UNIMPLEMENTED saying what there is in place of `path`, which is
/// /SERVICE/METHOD or anything else.
[[nodiscard]] absl::Status UnknownMethodError(std::string_view path);

/// Refuses every call of a method that is not served, reading none of its
/// messages. gRPC's own refusal has no text, which some clients take for
/// success. Thread-safe.
class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  /// \param door is borrowed.
  explicit UnknownMethods(const FrontDoor& door) : door_(door) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

 private:
  const FrontDoor& door_;
};

}  // namespace attention
