// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <string>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

constexpr std::string_view kDefaultPort = "50051";

// Schemes whose names are written host:port. A "dns:" name may begin with the
// name server's: dns://server/host:port.
constexpr std::array<std::string_view, 3> kHostSchemes = {
    "dns:", "ipv4:", "ipv6:"};
constexpr std::array<std::string_view, 2> kUnixSchemes = {"unix:",
                                                          "unix-abstract:"};
// Schemes that gRPC resolves by services of their own.
constexpr std::array<std::string_view, 2> kOtherSchemes = {"xds:",
                                                           "google-c2p:"};

// The scheme of `schemes` that `target` begins with; empty when none.
template <std::size_t Count>
std::string_view SchemeOf(std::string_view target,
                          const std::array<std::string_view, Count>& schemes) {
  for (const std::string_view scheme : schemes) {
    if (target.starts_with(scheme)) return scheme;
  }
  return {};
}

bool IsIpv6(std::string_view host) {
  in6_addr address{};
  // A zone, as in fe80::1%eth0, is not part of the address.
  const std::string text(host.substr(0, host.find('%')));
  return inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool IsPort(std::string_view text) {
  constexpr int kMaxPort = 65535;
  int port = 0;
  const char* const end = text.data() + text.size();
  const auto [parsed, error] =
      std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && parsed == end && port >= 1 && port <= kMaxPort;
}

bool IsHostName(std::string_view host) {
  return !host.empty() && std::ranges::all_of(host, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_' ||
           c >= 0x80;
  });
}

struct HostPort {
  std::string_view host;  // without brackets
  std::string_view port;
  bool in_brackets = false;
};

HostPort Split(std::string_view address) {
  if (address.starts_with('[')) {
    const std::size_t end = address.find(']');
    if (end != std::string_view::npos && end + 1 < address.size() &&
        address[end + 1] == ':') {
      return {address.substr(1, end - 1), address.substr(end + 2), true};
    }
  }
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return {address, {}};
  return {address.substr(0, colon), address.substr(colon + 1)};
}

bool IsHostPort(std::string_view address) {
  const HostPort parts = Split(address);
  return IsPort(parts.port) &&
         (parts.in_brackets ? IsIpv6(parts.host) : IsHostName(parts.host));
}

// The address that was most likely meant: with a port, with brackets, without
// a URL's scheme and path.
std::string Corrected(std::string_view address) {
  if (const std::size_t scheme = address.find("://");
      scheme != std::string_view::npos) {
    address.remove_prefix(scheme + 3);
  }
  address.remove_prefix(
      std::min(address.find_first_not_of('/'), address.size()));
  address = address.substr(0, address.find('/'));
  std::string_view port = kDefaultPort;
  if (IsPort(address)) return FormatText("localhost:{}", address);
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  if (!IsIpv6(address)) {
    const HostPort parts = Split(address);
    if (IsPort(parts.port)) port = parts.port;
    address = parts.host;
  }
  if (IsIpv6(address)) return FormatText("[{}]:{}", address, port);
  return FormatText("{}:{}", IsHostName(address) ? address : "localhost", port);
}

absl::Status Invalid(std::string_view target, std::string_view example) {
  return absl::InvalidArgumentError(
      FormatText("target is \"{}\", expected host:port or unix:PATH, such as "
                 "{}",
                 target, example));
}

// The name behind a scheme of kHostSchemes, whose name server is left out;
// empty when there is no name.
std::string_view NameIn(std::string_view target, std::string_view scheme) {
  const std::string_view name = target.substr(scheme.size());
  if (!name.starts_with("//"))
    return name.substr(name.starts_with('/') ? 1 : 0);
  const std::size_t slash = name.find('/', 2);
  return name.substr(slash == std::string_view::npos ? name.size() : slash + 1);
}

absl::Status CheckUnix(std::string_view target, std::string_view scheme) {
  const std::string_view path = target.substr(scheme.size());
  // gRPC reads unix://PATH as the socket of a host PATH, and refuses.
  const bool has_host = path.starts_with("//") && !path.starts_with("///");
  if (!path.empty() && !has_host &&
      path.size() < sizeof(sockaddr_un::sun_path)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(FormatText(
      "target is \"{}\", expected {}PATH with a path of 1 to {} bytes, such as "
      "unix:/run/attention.sock",
      target, scheme, sizeof(sockaddr_un::sun_path) - 1));
}

// Also of the addresses that mean all of this machine's.
bool IsLoopback(std::string_view host) {
  std::string name(host.substr(0, host.find('%')));
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  if (name == "localhost" || name == "localhost.") return true;
  in_addr ipv4{};
  if (inet_pton(AF_INET, name.c_str(), &ipv4) == 1) {
    return ntohl(ipv4.s_addr) >> 24 == IN_LOOPBACKNET ||
           ipv4.s_addr == INADDR_ANY;
  }
  in6_addr ipv6{};
  if (inet_pton(AF_INET6, name.c_str(), &ipv6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&ipv6) || IN6_IS_ADDR_UNSPECIFIED(&ipv6) ||
         (IN6_IS_ADDR_V4MAPPED(&ipv6) && ipv6.s6_addr[12] == IN_LOOPBACKNET);
}

// Call `check` with each of the addresses, which commas separate.
template <typename Check>
bool AllOf(std::string_view addresses, Check check) {
  for (;;) {
    const std::size_t comma = addresses.find(',');
    if (!check(addresses.substr(0, comma))) return false;
    if (comma == std::string_view::npos) return true;
    addresses.remove_prefix(comma + 1);
  }
}

}  // namespace

absl::Status CheckTarget(std::string_view target) {
  if (const auto scheme = SchemeOf(target, kUnixSchemes); !scheme.empty()) {
    return CheckUnix(target, scheme);
  }
  if (!SchemeOf(target, kOtherSchemes).empty()) return absl::OkStatus();
  if (const auto scheme = SchemeOf(target, kHostSchemes); !scheme.empty()) {
    const std::string_view name = NameIn(target, scheme);
    if (AllOf(name, IsHostPort)) return absl::OkStatus();
    return Invalid(
        target, FormatText("{}{}", scheme,
                           Corrected(name.empty() ? target.substr(scheme.size())
                                                  : name)));
  }
  if (IsHostPort(target)) return absl::OkStatus();
  return Invalid(target, Corrected(target));
}

bool IsLocalTarget(std::string_view target) {
  if (!SchemeOf(target, kUnixSchemes).empty()) return true;
  if (!SchemeOf(target, kOtherSchemes).empty()) return false;
  const std::string_view scheme = SchemeOf(target, kHostSchemes);
  return AllOf(
      scheme.empty() ? target : NameIn(target, scheme),
      [](std::string_view address) { return IsLoopback(Split(address).host); });
}

}  // namespace attention
