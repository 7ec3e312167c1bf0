// SPDX-License-Identifier: Apache-2.0
// Connections to a server: how many it takes, when they end, and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "server/host/log.h"
#include "server/host/options.h"
#include "tests/server/log_capture.h"
#include "tests/server/raw_call.h"
#include "tests/server/relay.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/tcp.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::Each;
using ::testing::ExitedWithCode;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr std::size_t kMiB = std::size_t{1} << 20U;
constexpr char kForward[] = "/attention.v1.AttentionService/Forward";
constexpr char kListModules[] = "/attention.v1.ModuleService/ListModules";

TEST(ConnectionsTest, ClosesOneBeyondTheLimitUntilAnotherHasGone) {
  ServerOptions options;
  options.max_connections = 2;
  TestServer server(options);
  server.Serve("m", MakeTestModule());  // on the first
  UniqueFd second = ConnectSocket(server.address());

  WaitUntilClosed(ConnectSocket(server.address()).get());

  server.ExpectServes();
  second = UniqueFd();
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  v1::ListModulesResponse response;
  const auto stub = v1::ModuleService::NewStub(Connect(server.address()));
  EXPECT_TRUE(stub->ListModules(&context, {}, &response).ok());
}

TEST(ConnectionsTest, CloseWhenTheirMessagesUnderWayTakeTooMuchMemory) {
  constexpr std::size_t kMessageBytes = 4 * kMiB;
  constexpr std::size_t kHeldBytes = kMessageBytes * 9 / 10;
  constexpr int kConnections = 60;
  ServerOptions options;
  options.max_message_bytes = kMessageBytes;
  options.max_queue_bytes = kMiB;  // 64 MiB of messages under way, that is
  TestServer server(options);
  server.Serve("m", MakeTestModule());
  const std::string message(kMessageBytes - 1024, '\0');
  std::counting_semaphore failed(0);
  std::vector<std::jthread> callers;
  {
    const Relay relay(server.address(), {.to_server = kHeldBytes});
    for (int i = 0; i < kConnections; ++i) {
      callers.emplace_back([&] {
        const grpc::Status status =
            CallRaw(Connect(relay.address()), kForward, message);
        EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE)
            << status.error_message();
        failed.release();
      });
    }

    // Half as much again may be under way without being noticed.
    constexpr int kUnnoticed = 64 * kMiB * 3 / 2 / kHeldBytes;
    for (int i = 0; i < kConnections - kUnnoticed; ++i) failed.acquire();

    server.ExpectServes();  // over a connection that has no part in it
  }
  callers.clear();
}

int PortOf(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

// An option's values of all sockets of this process that have the port of an
// address, by descriptor.
std::map<int, int> Options(const std::string& address, int level, int name) {
  const int port = std::stoi(address.substr(address.rfind(':') + 1));
  std::map<int, int> values;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    const int descriptor = std::stoi(entry.path().filename());
    int value = 0;
    socklen_t size = sizeof(value);
    if (PortOf(descriptor) == port &&
        getsockopt(descriptor, level, name, &value, &size) == 0) {
      values[descriptor] = value;
    }
  }
  return values;
}

TEST(ConnectionsTest, EndWhenAPeerAcknowledgesNothingForHalfAMinute) {
  TestServer server;
  ASSERT_TRUE(CallRaw(server.channel(), kListModules, "").ok());

  const std::map<int, int> timeouts =
      Options(server.address(), IPPROTO_TCP, TCP_USER_TIMEOUT);

  // Of the listening socket, and of the connection, which gRPC has a hold on
  // and the loop another.
  EXPECT_THAT(timeouts, SizeIs(3));
  EXPECT_THAT(timeouts, Each(Pair(_, 30'000)));
}

// A server whose listening socket breaks.
void BreakListening() {
  SetUpLogging("error", "text");
  TestServer server;
  for (const auto& [descriptor, listens] :
       Options(server.address(), SOL_SOCKET, SO_ACCEPTCONN)) {
    if (listens != 0) shutdown(descriptor, SHUT_RDWR);
  }
  std::promise<void>().get_future().wait();  // for ever
}

TEST(ConnectionsDeathTest, EndTheProcessWhenNoneCanBeAccepted) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");

  EXPECT_EXIT(BreakListening(), ExitedWithCode(kExitRuntimeError),
              "cannot accept connections any more, exiting: Invalid argument");
}

TEST(ConnectionsTest, NameTheirPeersInBothFamilies) {
  LogCapture log;
  ServerOptions options;
  options.listen = {"0.0.0.0:0"};
  Server server(options);
  ASSERT_TRUE(server.Start().ok());
  const std::string& address = server.addresses().front();
  const std::string port = address.substr(address.rfind(':'));

  EXPECT_TRUE(CallRaw(Connect("127.0.0.1" + port), kListModules, "").ok());
  EXPECT_THAT(log.lines(),
              Contains(ContainsRegex("ListModules peer=ipv4:127.0.0.1:[0-9]")));
  if (!ConnectSocket("[::1]" + port).valid()) GTEST_SKIP() << "no IPv6";
  EXPECT_TRUE(CallRaw(Connect("[::1]" + port), kListModules, "").ok());
  EXPECT_THAT(log.lines(),
              Contains(ContainsRegex("ListModules peer=ipv6:%5B::1%5D:[0-9]")));
  server.Drain();  // nobody logs any more
}

TEST(ConnectionsTest, AreTakenNoMoreOnceDrained) {
  const TemporaryDirectory directory;
  ServerOptions options;
  options.drain_grace = std::chrono::seconds(1);
  const std::filesystem::path socket = directory.path() / "socket";
  options.listen = {"127.0.0.1:0", "unix:" + socket.string()};
  Server server(options);
  ASSERT_TRUE(server.Start().ok());
  for (const std::string& address : server.addresses()) {
    EXPECT_TRUE(CallRaw(Connect(address), kListModules, "").ok()) << address;
  }

  server.Drain();

  for (const std::string& address : server.addresses()) {
    EXPECT_FALSE(ConnectSocket(address).valid()) << address;
  }
  EXPECT_FALSE(std::filesystem::exists(socket));
}

}  // namespace
}  // namespace attention::testing
