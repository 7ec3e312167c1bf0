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
using testing::WaitUntilClosed;

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

  static bool IsOpen(const Ends& ends) {
    pollfd file{ends.client.get(), POLLIN, 0};
    return poll(&file, 1, /*timeout=*/0) == 0;
  }

  // Look with so much memory there, none of it reserved, so much later.
  std::size_t Look(std::size_t num_bytes, milliseconds later) {
    return Look({.reserved_or_not = num_bytes, .unaccounted = num_bytes},
                later);
  }
  std::size_t Look(const MessageWatch::Memory& memory, milliseconds later) {
    memory_ = memory;
    now_ += later;
    const std::size_t num_closed = watch_.Look(now_);
    connections_->ForgetEnded();
    return num_closed;
  }

  std::string address_ = "127.0.0.1:0";
  std::vector<ListeningSocket> sockets_ = *ListenOn(seconds(30), &address_);
  std::unique_ptr<OpenConnections> connections_ =
      *OpenConnections::Create(/*max_connections=*/100);
  MessageWatch::Memory memory_;
  MessageWatch watch_{kMaxBytes, *connections_,
                      [this](std::size_t) { return memory_; }};
  MessageWatch::Time now_{};
};

TEST_F(MessageWatchTest, ClosesWhoHoldsWhatIsTooMuch) {
  const Ends resting = Connection();
  const Ends sending = Connection();
  Send(sending, 2000);

  EXPECT_EQ(Look(2000, seconds(1)), 1U);

  WaitUntilClosed(sending.client.get());
  EXPECT_TRUE(IsOpen(resting));
}

TEST_F(MessageWatchTest, ClosesNobodyForMemoryThatDidNotComeInMessages) {
  const Ends ends = Connection();
  Send(ends, 900);

  EXPECT_EQ(Look(1'000'000, seconds(1)), 0U);

  EXPECT_TRUE(IsOpen(ends));
}

TEST_F(MessageWatchTest, ClosesNobodyForBytesThatTakeNoMemory) {
  const Ends ends = Connection();
  Send(ends, 5000);

  EXPECT_EQ(Look(1000, seconds(1)), 0U);

  EXPECT_TRUE(IsOpen(ends));
}

TEST_F(MessageWatchTest, ClosesNobodyForMemoryThatIsReserved) {
  const Ends ends = Connection();
  Send(ends, 5000);

  EXPECT_EQ(Look({.reserved_or_not = 5000, .unaccounted = 1000}, seconds(1)),
            0U);

  EXPECT_TRUE(IsOpen(ends));
}

TEST_F(MessageWatchTest, CountsMessagesThatCameWholeAsGone) {
  const Ends ends = Connection();
  Send(ends, 2000);
  CallRecord call;
  call.caller.peer = connections_->ListNamed().front()->peer;
  watch_.OnMessage(call, 1200);

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

TEST_F(MessageWatchTest, ForgetsNothingWhileItMayBeReserved) {
  const Ends ends = Connection();
  Send(ends, 2000);
  EXPECT_EQ(Look({.reserved_or_not = 2000, .unaccounted = 500}, seconds(1)),
            0U);

  EXPECT_EQ(Look(2000, seconds(1)), 1U);
}

TEST_F(MessageWatchTest, ClosesForWhatIsHeldOfTheBytesThatCame) {
  std::vector<Ends> connections;
  for (int i = 0; i < 10; ++i) {
    connections.push_back(Connection());
    Send(connections.back(), 1000);
  }

  // Of 10,000 bytes 1,250 are held, and 750 are to be freed.
  EXPECT_EQ(Look(1250, seconds(1)), 6U);
}

TEST_F(MessageWatchTest, LetsMemoryBecomeFreeBeforeItClosesMore) {
  const Ends first = Connection();
  const Ends second = Connection();
  Send(first, 1200);
  EXPECT_EQ(Look(1200, seconds(1)), 1U);
  Send(second, 1200);

  EXPECT_EQ(Look(2400, MessageWatch::kFreeTime - milliseconds(1)), 0U);
  EXPECT_EQ(Look(2400, milliseconds(1)), 1U);

  WaitUntilClosed(second.client.get());
}

TEST_F(MessageWatchTest, ClosesMoreAtOnceWhenMuchMoreComes) {
  const Ends first = Connection();
  const Ends second = Connection();
  Send(first, 1200);
  EXPECT_EQ(Look(1200, seconds(1)), 1U);
  Send(second, 1701);

  EXPECT_EQ(Look(5000, milliseconds(1)), 1U);

  WaitUntilClosed(second.client.get());
}

}  // namespace
}  // namespace attention
