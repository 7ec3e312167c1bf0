// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace attention {

/// Set what every listener needs against hostile clients.
void SetListenerArguments(std::size_t max_message_bytes,
                          grpc::ServerBuilder* builder);

/// Listen on all addresses and start answering.
/// \param addresses get the chosen ports in place of port 0.
/// \return an error naming the address that cannot be listened on.
[[nodiscard]] absl::StatusOr<std::unique_ptr<grpc::Server>> StartListening(
    grpc::ServerBuilder* builder, std::vector<std::string>* addresses);

}  // namespace attention
