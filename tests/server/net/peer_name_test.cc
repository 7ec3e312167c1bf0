// SPDX-License-Identifier: Apache-2.0
#include "server/net/peer_name.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>
#include <string>

namespace attention {
namespace {

sockaddr_storage Ipv4(const char* host, in_port_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

sockaddr_storage Ipv6(const char* host, in_port_t port,
                      std::uint32_t scope = 0) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_scope_id = scope;
  EXPECT_EQ(inet_pton(AF_INET6, host, &address.sin6_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

TEST(PeerNameTest, IsGrpcs) {
  EXPECT_EQ(PeerName(Ipv4("127.0.0.1", 4711)), "ipv4:127.0.0.1:4711");
  EXPECT_EQ(PeerName(Ipv6("::1", 4711)), "ipv6:%5B::1%5D:4711");
  EXPECT_EQ(PeerName(Ipv6("::ffff:10.0.0.7", 1)), "ipv4:10.0.0.7:1");
  EXPECT_EQ(PeerName(Ipv6("fe80::1", 1, /*scope=*/2)),
            "ipv6:%5Bfe80::1%252%5D:1");
}

TEST(PeerNameTest, IsEmptyForAUnixSocket) {
  sockaddr_storage address{};
  address.ss_family = AF_UNIX;

  EXPECT_EQ(PeerName(address), "");
}

}  // namespace
}  // namespace attention
