// SPDX-License-Identifier: Apache-2.0
#include "server/net/open_connections.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <utility>
#include <vector>

namespace attention {
namespace {

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

}  // namespace
}  // namespace attention
