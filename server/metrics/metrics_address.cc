// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_address.h"

#include <algorithm>
#include <cctype>

#include "core/tensor/format_text.h"
#include "server/net/listen_address.h"

namespace attention {

absl::StatusOr<std::string> MetricsAddress(std::string_view text) {
  std::string address(text);
  const bool is_port = !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
  if (is_port) address.insert(0, ":");
  if (address.starts_with(':')) address.insert(0, "127.0.0.1");
  if (!UnixSocketPath(address) && ValidateListenAddress(address).ok()) {
    return address;
  }
  return absl::InvalidArgumentError(FormatText(
      "'{}': expected HOST:PORT or PORT, with a port from 0 to 65535", text));
}

}  // namespace attention
