// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace attention {

/// Check that a target is one that gRPC connects to as its writer meant it:
/// "host:port", "[IPv6]:port", "unix:PATH", or another name with a scheme of
/// gRPC's. A host without a port, for which gRPC would take 443, and the URL of
/// a web page are not. Thread-safe.
/// \return INVALID_ARGUMENT with the target spelled right, where it can be
///   told.
[[nodiscard]] absl::Status CheckTarget(std::string_view target);

/// Tell whether a checked target is on this machine: a loopback name or
/// address, or a UNIX socket. No proxy is between it and its callers.
[[nodiscard]] bool IsLocalTarget(std::string_view target);

}  // namespace attention
