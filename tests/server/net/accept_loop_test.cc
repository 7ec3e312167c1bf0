// SPDX-License-Identifier: Apache-2.0
#include "server/net/accept_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/tcp.h"

namespace attention {
namespace {

using std::chrono::seconds;
using testing::ConnectSocket;
using testing::WaitUntilClosed;

// Takes what is handed over, in place of gRPC.
class Owner {
 public:
  void Take(int connection) {
    const std::lock_guard lock(mutex_);
    connections_.emplace_back(connection);
    changed_.notify_all();
  }
  void WaitFor(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return connections_.size() >= count; });
  }
  // End the first.
  void EndOne() {
    const std::lock_guard lock(mutex_);
    shutdown(connections_.front().get(), SHUT_RDWR);
    connections_.erase(connections_.begin());
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<UniqueFd> connections_;
};

class AcceptLoopTest : public ::testing::Test {
 protected:
  void Start(std::size_t max_connections) {
    Start(max_connections, *ListenOn(seconds(30), &address_));
  }
  void Start(std::size_t max_connections,
             std::vector<ListeningSocket> sockets) {
    connections_ = *OpenConnections::Create(max_connections);
    loop_ = *AcceptLoop::Create(
        std::move(sockets), *connections_,
        {.hand_over = [this](int, int fd) { hand_over_(fd); },
         .on_failure =
             [this](std::string_view why) {
               failure_.set_value(std::string(why));
             }});
  }

  std::string address_ = "127.0.0.1:0";
  Owner owner_;
  std::function<void(int)> hand_over_ = [this](int fd) { owner_.Take(fd); };
  std::promise<std::string> failure_;
  std::unique_ptr<OpenConnections> connections_;
  std::unique_ptr<AcceptLoop> loop_;
};

TEST_F(AcceptLoopTest, HandsOverConnections) {
  Start(/*max_connections=*/2);

  const UniqueFd first = ConnectSocket(address_);
  const UniqueFd second = ConnectSocket(address_);

  owner_.WaitFor(2);
}

TEST_F(AcceptLoopTest, ClosesAConnectionBeyondTheLimit) {
  Start(/*max_connections=*/1);
  const UniqueFd first = ConnectSocket(address_);
  owner_.WaitFor(1);

  const UniqueFd second = ConnectSocket(address_);
  WaitUntilClosed(second.get());
  EXPECT_EQ(connections_->count(), 1U);
  EXPECT_EQ(loop_->num_refused(Refusal::kLimit), 1U);

  // Ended, it is no longer counted: at once, as its owner has shut it down.
  owner_.EndOne();
  const UniqueFd third = ConnectSocket(address_);
  owner_.WaitFor(1);
}

// Lets no more descriptors be opened while it lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    // The lowest that is free, and so none beyond it.
    const UniqueFd next(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit none{.rlim_cur = static_cast<rlim_t>(next.get()),
                      .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST_F(AcceptLoopTest, RefusesWhatThereIsNoDescriptorForAndGoesOn) {
  Start(/*max_connections=*/100);
  const UniqueFd first = ConnectSocket(address_);
  owner_.WaitFor(1);
  std::vector<UniqueFd> clients;
  {
    // Made before there are none.
    for (int i = 0; i < 20; ++i) {
      clients.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    }
    sockaddr_storage server{};
    socklen_t size = sizeof(server);
    getpeername(first.get(), reinterpret_cast<sockaddr*>(&server), &size);
    const NoDescriptors none;
    for (const UniqueFd& client : clients) {
      ASSERT_EQ(connect(client.get(),
                        reinterpret_cast<const sockaddr*>(&server), size),
                0);
    }
    for (const UniqueFd& client : clients) WaitUntilClosed(client.get());
  }
  EXPECT_EQ(loop_->num_refused(Refusal::kShortage), clients.size());

  const UniqueFd last = ConnectSocket(address_);

  owner_.WaitFor(2);
}

TEST_F(AcceptLoopTest, OutlivesMemoryThatRunsOut) {
  bool is_exhausted = true;
  hand_over_ = [&](int fd) {
    if (std::exchange(is_exhausted, false)) throw std::bad_alloc();
    owner_.Take(fd);
  };
  Start(/*max_connections=*/1);
  const UniqueFd first = ConnectSocket(address_);
  WaitUntilClosed(first.get());

  const UniqueFd second = ConnectSocket(address_);

  owner_.WaitFor(1);
  EXPECT_EQ(loop_->num_refused(Refusal::kShortage), 1U);
}

TEST_F(AcceptLoopTest, SaysThatItCannotGoOn) {
  std::vector<ListeningSocket> sockets;
  // One that does not listen.
  sockets.emplace_back(UniqueFd(socket(AF_INET, SOCK_STREAM, 0)), "");

  Start(/*max_connections=*/1, std::move(sockets));

  EXPECT_EQ(failure_.get_future().get(), "Invalid argument");
  loop_->Stop();  // returns all the same
}

TEST_F(AcceptLoopTest, SaysWhatWasThrown) {
  hand_over_ = [](int) { throw std::runtime_error("broken"); };
  Start(/*max_connections=*/1);

  const UniqueFd client = ConnectSocket(address_);

  EXPECT_EQ(failure_.get_future().get(), "broken");
}

TEST_F(AcceptLoopTest, RefusesConnectionsOnceItHasStopped) {
  Start(/*max_connections=*/1);
  const UniqueFd first = ConnectSocket(address_);
  owner_.WaitFor(1);

  loop_->Stop();
  loop_->Stop();

  EXPECT_FALSE(ConnectSocket(address_).valid());
  EXPECT_EQ(errno, ECONNREFUSED);
}

}  // namespace
}  // namespace attention
