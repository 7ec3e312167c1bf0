// SPDX-License-Identifier: Apache-2.0
#include "server/net/received_bytes.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace attention {

// tcp(7), TCP_INFO.
std::uint64_t ReceivedBytes(int socket) {
  tcp_info info{};  // what an older kernel does not fill in stays 0
  socklen_t size = sizeof(info);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_received;
}

}  // namespace attention
