// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "server/repository/unix_file.h"

namespace attention::testing {

/// Connect to "HOST:PORT" with a numeric host, such as "127.0.0.1:50051" or
/// "[::1]:50051", or to "unix:PATH"; invalid, with errno set, when that fails.
[[nodiscard]] UniqueFd ConnectSocket(const std::string& address);

/// Wait until the peer has closed its end; what it sends is dropped.
void WaitUntilClosed(int socket);

}  // namespace attention::testing
