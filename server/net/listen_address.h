// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace attention {

/// Check that an address is "host:port" (a bracketed IPv6 host included) with a
/// port in [0, 65535], or "unix:path".
[[nodiscard]] absl::Status ValidateListenAddress(std::string_view address);

/// Return the path of a "unix:path" address.
[[nodiscard]] std::optional<std::string> UnixSocketPath(
    std::string_view address);

/// Put the port that was chosen into a "host:port" address; a "unix:path" one
/// is returned as it is.
[[nodiscard]] std::string WithPort(std::string_view address, int port);

/// Make way for a UNIX socket: remove one that a dead server left.
/// \return FAILED_PRECONDITION when a server listens there or the path is
///   another kind of file.
[[nodiscard]] absl::Status ClearStaleSocket(const std::string& path);

}  // namespace attention
