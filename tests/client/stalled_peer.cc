// SPDX-License-Identifier: Apache-2.0
#include "tests/client/stalled_peer.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

namespace attention {
namespace {

// HTTP/2's SETTINGS and WINDOW_UPDATE, by which streams, and the connection,
// have windows of 2 GiB (RFC 9113, 6.5 and 6.9).
constexpr std::array<std::uint8_t, 28> kUnlimited = {
    0,    0, 6, 4, 0, 0, 0, 0, 0, 0, 4,    0x7F, 0xFF, 0xFF,
    0xFF, 0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0,    0};

void AbortUnless(bool is_done) {
  if (!is_done) std::abort();
}

}  // namespace

StalledPeer::StalledPeer(const std::string& path)
    : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  AbortUnless(path.size() < sizeof(address.sun_path));
  std::ranges::copy(path, address.sun_path);
  AbortUnless(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof(address)) == 0);
  AbortUnless(listen(listener_.get(), /*n=*/8) == 0);
}

void StalledPeer::Take(std::size_t num_bytes) {
  connection_ = UniqueFd(accept(listener_.get(), nullptr, nullptr));
  AbortUnless(WriteAll(connection_.get(),
                       std::as_bytes(std::span<const std::uint8_t>(kUnlimited)))
                  .ok());
  std::array<std::byte, 4096> taken{};
  while (num_bytes > 0) {
    const ssize_t count = read(connection_.get(), taken.data(),
                               std::min(num_bytes, taken.size()));
    AbortUnless(count > 0);
    num_bytes -= static_cast<std::size_t>(count);
  }
}

}  // namespace attention
