// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_watch.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "server/net/listening_socket.h"
#include "tests/server/tcp.h"

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ConnectSocket;

constexpr std::size_t kMaxBytes = 1000;

// Connections over TCP, of which the test is both ends, and a watch that is
// told how much memory there is.
class MessageWatchTest : public ::testing::Test {
 protected:
  struct Ends {
    UniqueFd client;
    UniqueFd server;
  };

  Ends Connection() {
    Ends ends;
    ends.client = ConnectSocket(address_);
    ends.server = UniqueFd(accept(sockets_.front().get(), nullptr, nullptr));
    EXPECT_TRUE(connections_->Add(ends.server.get()).ok());
    return ends;
  }

  // Send bytes, and wait until they have arrived.
  static void Send(const Ends& ends, std::size_t num_bytes) {
    const std::string bytes(num_bytes, 'x');
    EXPECT_EQ(send(ends.client.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(num_bytes));
    std::string arrived(num_bytes, '\0');
    EXPECT_EQ(recv(ends.server.get(), arrived.data(), num_bytes, MSG_WAITALL),
              static_cast<ssize_t>(num_bytes));
  }

  static bool IsClosed(const Ends& ends) {
    pollfd file{ends.client.get(), POLLIN, 0};
    return poll(&file, 1, /*timeout=*/0) > 0;
  }

  // Look with so much memory there, so much later.
  std::size_t Look(std::size_t unaccounted_bytes, milliseconds later) {
    unaccounted_bytes_ = unaccounted_bytes;
    now_ += later;
    return watch_.Look(now_);
  }

  std::string address_ = "127.0.0.1:0";
  std::vector<ListeningSocket> sockets_ = *ListenOn(seconds(30), &address_);
  std::unique_ptr<OpenConnections> connections_ =
      *OpenConnections::Create(/*max_connections=*/100);
  std::size_t unaccounted_bytes_ = 0;
  MessageWatch watch_{kMaxBytes, *connections_,
                      [this] { return unaccounted_bytes_; }};
  MessageWatch::Time now_{};
};

TEST_F(MessageWatchTest, ClosesWhoHoldsWhatIsTooMuch) {
  const Ends resting = Connection();
  const Ends sending = Connection();
  Send(sending, 2000);

  EXPECT_EQ(Look(2000, seconds(1)), 1U);

  EXPECT_TRUE(IsClosed(sending));
  EXPECT_FALSE(IsClosed(resting));
}

TEST_F(MessageWatchTest, ClosesNobodyForMemoryThatDidNotComeInMessages) {
  const Ends ends = Connection();
  Send(ends, 900);

  EXPECT_EQ(Look(1'000'000, seconds(1)), 0U);
}

TEST_F(MessageWatchTest, ClosesNobodyForBytesThatTakeNoMemory) {
  const Ends ends = Connection();
  Send(ends, 5000);

  EXPECT_EQ(Look(900, seconds(1)), 0U);
}

TEST_F(MessageWatchTest, CountsMessagesThatCameWholeAsGone) {
  const Ends ends = Connection();
  Send(ends, 2000);
  CallRecord call;
  call.caller.peer = connections_->ListNamed().front()->peer;
  watch_.OnMessage(call, 1500);

  EXPECT_EQ(Look(2000, seconds(1)), 0U);

  call.caller.peer = "ipv4:127.0.0.1:1";  // nobody
  watch_.OnMessage(call, 1500);
  Send(ends, 2000);
  EXPECT_EQ(Look(2500, seconds(1)), 1U);
}

TEST_F(MessageWatchTest, ForgetsWhatCameWhenAllWasWell) {
  const Ends ends = Connection();
  Send(ends, 2000);
  EXPECT_EQ(Look(500, seconds(1)), 0U);

  EXPECT_EQ(Look(2000, seconds(1)), 0U);

  Send(ends, 1001);
  EXPECT_EQ(Look(2000, seconds(1)), 1U);
}

TEST_F(MessageWatchTest, ClosesTheStalledFirst) {
  const Ends stalled = Connection();
  const Ends sending = Connection();
  Send(stalled, 600);
  Send(sending, 600);
  EXPECT_EQ(Look(900, seconds(1)), 0U);
  Send(sending, 300);

  EXPECT_EQ(Look(1100, seconds(1)), 1U);

  EXPECT_TRUE(IsClosed(stalled));
  EXPECT_FALSE(IsClosed(sending));
}

TEST_F(MessageWatchTest, LetsMemoryBecomeFreeBeforeItClosesMore) {
  const Ends first = Connection();
  const Ends second = Connection();
  Send(first, 1200);
  EXPECT_EQ(Look(1200, seconds(1)), 1U);
  connections_->ForgetEnded();
  Send(second, 1200);

  EXPECT_EQ(Look(2400, MessageWatch::kFreeTime - milliseconds(1)), 0U);
  EXPECT_EQ(Look(2400, milliseconds(1)), 1U);

  EXPECT_TRUE(IsClosed(second));
}

}  // namespace
}  // namespace attention
