// SPDX-License-Identifier: Apache-2.0
#include "server/net/open_connections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/net/listening_socket.h"
#include "tests/server/tcp.h"

namespace attention {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// Two ends of a connection.
std::pair<UniqueFd, UniqueFd> Connection() {
  std::array<int, 2> ends{};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

bool IsReadable(int descriptor) {
  pollfd file{descriptor, POLLIN, 0};
  return poll(&file, 1, /*timeout=*/0) > 0;
}

class OpenConnectionsTest : public ::testing::Test {
 protected:
  const std::unique_ptr<OpenConnections> connections_ =
      *OpenConnections::Create(/*max_connections=*/1000);
};

TEST_F(OpenConnectionsTest, ForgetsWhatItsOwnerShutsDown) {
  const auto [owner, peer] = Connection();
  ASSERT_TRUE(connections_->Add(owner.get()).ok());
  EXPECT_EQ(connections_->count(), 1U);
  EXPECT_FALSE(IsReadable(connections_->ends()));

  shutdown(owner.get(), SHUT_RDWR);

  EXPECT_TRUE(IsReadable(connections_->ends()));
  connections_->ForgetEnded();
  EXPECT_EQ(connections_->count(), 0U);
  EXPECT_FALSE(IsReadable(connections_->ends()));  // though the owner has it
}

TEST_F(OpenConnectionsTest, ForgetsWhosePeerIsGone) {
  auto [owner, peer] = Connection();
  ASSERT_TRUE(connections_->Add(owner.get()).ok());

  peer = UniqueFd();

  EXPECT_TRUE(IsReadable(connections_->ends()));
  connections_->ForgetEnded();
  EXPECT_EQ(connections_->count(), 0U);
}

TEST_F(OpenConnectionsTest, ForgetsThoseAloneThatHaveEnded) {
  std::vector<std::pair<UniqueFd, UniqueFd>> ending;
  for (int i = 0; i < 200; ++i) {
    ending.push_back(Connection());
    ASSERT_TRUE(connections_->Add(ending.back().first.get()).ok());
  }
  const auto [owner, peer] = Connection();
  ASSERT_TRUE(connections_->Add(owner.get()).ok());
  // A message, and the end of one direction, end no connection.
  ASSERT_EQ(send(peer.get(), "m", 1, MSG_NOSIGNAL), 1);
  shutdown(peer.get(), SHUT_WR);

  ending.clear();

  connections_->ForgetEnded();
  EXPECT_EQ(connections_->count(), 1U);
}

TEST_F(OpenConnectionsTest, CountsNoSocketThatIsNotOpen) {
  EXPECT_FALSE(connections_->Add(-1).ok());
  EXPECT_EQ(connections_->count(), 0U);
}

// A connection over TCP: what accepts it, and its peer.
std::pair<UniqueFd, UniqueFd> TcpConnection(const ListeningSocket& listening,
                                            const std::string& address) {
  UniqueFd peer = testing::ConnectSocket(address);
  UniqueFd owner(accept(listening.get(), nullptr, nullptr));
  return {std::move(owner), std::move(peer)};
}

TEST_F(OpenConnectionsTest, CountsMessagesForTheirPeers) {
  std::string address = "127.0.0.1:0";
  const auto sockets = *ListenOn(std::chrono::seconds(30), &address);
  const auto [unix_owner, unix_peer] = Connection();
  const auto [owner, peer] = TcpConnection(sockets.front(), address);
  const auto [other_owner, other_peer] =
      TcpConnection(sockets.front(), address);
  for (const UniqueFd* one : {&unix_owner, &owner, &other_owner}) {
    ASSERT_TRUE(connections_->Add(one->get()).ok());
  }
  const auto named = connections_->ListNamed();
  ASSERT_THAT(named, SizeIs(2));

  connections_->CountMessage(named[0]->peer, 1'000'000);
  connections_->CountMessage("unix:", 1);

  EXPECT_GE(named[0]->delivered_bytes, 1'000'000U);
  EXPECT_LT(named[0]->delivered_bytes, 1'001'000U);
  EXPECT_EQ(named[1]->delivered_bytes, 0U);
}

TEST_F(OpenConnectionsTest, TakesTheLaterOfTwoWithOnePeer) {
  std::string address = "127.0.0.1:0";
  const auto sockets = *ListenOn(std::chrono::seconds(30), &address);
  const auto [owner, peer] = TcpConnection(sockets.front(), address);
  ASSERT_TRUE(connections_->Add(owner.get()).ok());
  const auto first = connections_->ListNamed().front();
  ASSERT_TRUE(connections_->Add(owner.get()).ok());  // as if it were another
  const auto all = connections_->ListNamed();
  const auto& second = all[0] == first ? all[1] : all[0];

  connections_->CountMessage(first->peer, 1);
  EXPECT_EQ(first->delivered_bytes, 0U);
  EXPECT_GT(second->delivered_bytes, 0U);

  shutdown(owner.get(), SHUT_RDWR);
  connections_->ForgetEnded();
  EXPECT_THAT(connections_->ListNamed(), IsEmpty());
  const std::uint64_t counted = second->delivered_bytes;
  connections_->CountMessage(second->peer, 1);  // nobody
  EXPECT_EQ(second->delivered_bytes, counted);
}

}  // namespace
}  // namespace attention
