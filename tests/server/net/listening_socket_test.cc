// SPDX-License-Identifier: Apache-2.0
#include "server/net/listening_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor/status_text.h"
#include "server/net/listen_address.h"
#include "tests/server/net/private_network.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/tcp.h"

namespace attention {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr milliseconds kUnacknowledged{20'000};

absl::StatusOr<std::vector<ListeningSocket>> Listen(std::string* address) {
  return ListenOn(kUnacknowledged, address);
}

int Option(int socket, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  EXPECT_EQ(getsockopt(socket, level, name, &value, &size), 0);
  return value;
}

// That of an address of this machine, with the port of another.
std::string WithHost(const std::string& host, const std::string& address) {
  return host + address.substr(address.rfind(':'));
}

TEST(ListenOnTest, ChoosesAPortAndListens) {
  std::string address = "127.0.0.1:0";

  const auto sockets = Listen(&address);

  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_THAT(address, MatchesRegex("127.0.0.1:[1-9].*"));
  EXPECT_TRUE(testing::ConnectSocket(address).valid());
}

TEST(ListenOnTest, SetsOptionsOfConnections) {
  std::string address = "127.0.0.1:0";
  const auto sockets = Listen(&address);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  const UniqueFd client = testing::ConnectSocket(address);

  const UniqueFd accepted(
      accept4(sockets->front().get(), nullptr, nullptr, SOCK_NONBLOCK));

  ASSERT_TRUE(accepted.valid());
  EXPECT_EQ(Option(accepted.get(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(Option(accepted.get(), IPPROTO_TCP, TCP_USER_TIMEOUT),
            kUnacknowledged.count());
}

TEST(ListenOnTest, ListensOnBothFamiliesOfAWildcard) {
  std::string address = "0.0.0.0:0";
  const auto sockets = Listen(&address);
  ASSERT_TRUE(sockets.ok()) << sockets.status();

  EXPECT_TRUE(testing::ConnectSocket(WithHost("127.0.0.1", address)).valid());
  std::string ipv6 = "[::1]:0";
  if (!Listen(&ipv6).ok()) GTEST_SKIP() << "there is no IPv6";
  EXPECT_TRUE(testing::ConnectSocket(WithHost("[::1]", address)).valid());
}

// Listen on several addresses as those of one name.
absl::StatusOr<std::vector<ListeningSocket>> ListenOnEach(
    const std::vector<std::string>& hosts, std::string* address) {
  std::vector<SocketAddress> addresses;
  for (const std::string& host : hosts) {
    addresses.push_back(ResolveHost(WithHost(host, *address))->front());
  }
  return ListenOnAll(kUnacknowledged, addresses, address);
}

const std::vector<std::string> kBothFamilies = {"127.0.0.1", "[::1]"};

TEST(ListenOnTest, ListensOnBothFamiliesOnOnePort) {
  std::string address = "localhost:0";

  const auto sockets = ListenOnEach(kBothFamilies, &address);

  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_THAT(address, MatchesRegex("localhost:[1-9].*"));
  EXPECT_TRUE(testing::ConnectSocket(WithHost("127.0.0.1", address)).valid());
  if (sockets->size() == 1) GTEST_SKIP() << "there is no IPv6";
  EXPECT_TRUE(testing::ConnectSocket(WithHost("[::1]", address)).valid());
}

TEST(ListenOnTest, ListensOnWhatANameStandsFor) {
  std::string address = "localhost:0";

  const auto sockets = Listen(&address);

  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_TRUE(testing::ConnectSocket(WithHost("127.0.0.1", address)).valid() ||
              testing::ConnectSocket(WithHost("[::1]", address)).valid());
}

TEST(ListenOnTest, LeavesOutAddressesThatTheMachineDoesNotHave) {
  std::string address = "name:0";
  const auto sockets =
      ListenOnEach({"198.51.100.1", "[2001:db8::1]", "127.0.0.1"}, &address);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(sockets->size(), 1U);
  EXPECT_TRUE(testing::ConnectSocket(WithHost("127.0.0.1", address)).valid());

  std::string away = "away:0";
  EXPECT_EQ(
      StatusText(ListenOnEach({"198.51.100.1", "203.0.113.1"}, &away).status()),
      "cannot listen on away:0: it is not an address of this machine");
}

TEST(ListenOnTest, SaysThatOneOfSeveralAddressesIsInUse) {
  std::string taken = "127.0.0.2:0";
  const auto others = Listen(&taken);
  ASSERT_TRUE(others.ok()) << others.status();
  for (const std::vector<std::string>& hosts :
       {std::vector<std::string>{"127.0.0.1", "127.0.0.2"},
        {"127.0.0.2", "127.0.0.1"}}) {
    std::string address = WithHost("name", taken);

    EXPECT_EQ(StatusText(ListenOnEach(hosts, &address).status()),
              "cannot listen on " + address + ": it is in use");
    EXPECT_FALSE(testing::ConnectSocket(WithHost("127.0.0.1", taken)).valid());
  }
}

TEST(ListenOnTest, ListensOnceOnAnAddressNamedTwice) {
  std::string address = "name:0";

  const auto sockets = ListenOnEach({"127.0.0.1", "127.0.0.1"}, &address);

  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(sockets->size(), 1U);
}

// Listen on ports of one host, which are then taken.
std::vector<ListeningSocket> TakePorts(int first, int last) {
  std::vector<ListeningSocket> taken;
  for (int port = first; port <= last; ++port) {
    std::string address = WithPort("127.0.0.2:0", port);
    auto sockets = Listen(&address);
    EXPECT_TRUE(sockets.ok()) << sockets.status();
    if (sockets.ok()) taken.push_back(std::move(sockets->front()));
  }
  return taken;
}

TEST(ListenOnTest, ChoosesAPortThatIsFreeOnAllAddresses) {
  const bool entered = testing::RunInPrivateNetwork([] {
    // What the system chooses from, the lower ones first.
    std::ofstream("/proc/sys/net/ipv4/ip_local_port_range") << "40000 40015";
    const auto lower = TakePorts(40'000, 40'005);
    std::string address = "name:0";

    const absl::Status status =
        ListenOnEach({"127.0.0.1", "127.0.0.2"}, &address).status();

    EXPECT_TRUE(status.ok()) << status;
    const auto upper = TakePorts(40'006, 40'015);
    std::string another = "name:0";
    EXPECT_EQ(
        StatusText(ListenOnEach({"127.0.0.1", "127.0.0.2"}, &another).status()),
        "cannot listen on name:0: it is in use");
  });
  if (!entered) GTEST_SKIP() << "not permitted to make a network";
}

TEST(ListenOnTest, SaysThatAnAddressIsInUse) {
  std::string address = "127.0.0.1:0";
  const auto sockets = Listen(&address);

  const absl::Status status = Listen(&address).status();

  EXPECT_EQ(StatusText(status),
            "cannot listen on " + address + ": it is in use");
}

TEST(ListenOnTest, SaysThatAnAddressIsNotOfThisMachine) {
  std::string address = "192.0.2.1:1";

  EXPECT_EQ(StatusText(Listen(&address).status()),
            "cannot listen on 192.0.2.1:1: it is not an address of this "
            "machine");
}

TEST(ListenOnTest, SaysThatANameStandsForNothing) {
  std::string address = "no-such-host.invalid:1";

  EXPECT_THAT(std::string(StatusText(Listen(&address).status())),
              HasSubstr("cannot listen on no-such-host.invalid:1: "));
}

TEST(ListenOnTest, MakesASocketFileAndRemovesIt) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "socket";
  std::string address = "unix:" + path.string();
  {
    const auto sockets = Listen(&address);
    ASSERT_TRUE(sockets.ok()) << sockets.status();

    EXPECT_TRUE(testing::ConnectSocket(address).valid());
    EXPECT_EQ(std::filesystem::status(path).permissions(),
              std::filesystem::perms::owner_read |
                  std::filesystem::perms::owner_write);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ListenOnTest, TakesTheSocketFileOfADeadServer) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "socket").string();
  std::string address = "unix:" + path;
  {
    auto sockets = Listen(&address);
    ASSERT_TRUE(sockets.ok());
    std::filesystem::create_hard_link(path, path + "-kept");
  }
  std::filesystem::rename(path + "-kept", path);

  EXPECT_TRUE(Listen(&address).ok());
}

TEST(ListenOnTest, TakesNoSocketFileOfAServerThatListens) {
  const TemporaryDirectory directory;
  std::string address = "unix:" + (directory.path() / "socket").string();
  const auto sockets = Listen(&address);
  ASSERT_TRUE(sockets.ok()) << sockets.status();

  EXPECT_EQ(StatusText(Listen(&address).status()),
            "cannot listen on " + address + ": a server is listening there");
  EXPECT_TRUE(testing::ConnectSocket(address).valid());
}

TEST(ListenOnTest, SaysThatAFolderIsMissing) {
  std::string address = "unix:/nonexistent/socket";

  EXPECT_EQ(StatusText(Listen(&address).status()),
            "cannot listen on unix:/nonexistent/socket: No such file or "
            "directory");
}

}  // namespace
}  // namespace attention
