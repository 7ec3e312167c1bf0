// SPDX-License-Identifier: Apache-2.0
#include "tests/server/net/private_network.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <thread>

#include "server/repository/unix_file.h"

namespace attention::testing {
namespace {

bool BringUpLoopback() {
  const UniqueFd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP;
  return ioctl(any.get(), SIOCSIFFLAGS, &request) == 0;
}

}  // namespace

bool RunInPrivateNetwork(const std::function<void()>& body) {
  bool entered = false;
  std::jthread([&] {
    entered = unshare(CLONE_NEWNET) == 0 && BringUpLoopback();
    if (entered) body();
  }).join();
  return entered;
}

}  // namespace attention::testing
