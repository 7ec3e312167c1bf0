// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/metrics/scrape.h"

namespace attention::testing {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;

constexpr char kGet[] = "GET /metrics HTTP/1.1\r\n\r\n";

std::unique_ptr<MetricsEndpoint> Serve(PageWriter page) {
  auto endpoint = MetricsEndpoint::Listen("127.0.0.1:0", std::move(page));
  EXPECT_TRUE(endpoint.ok()) << endpoint.status();
  return *std::move(endpoint);
}

std::unique_ptr<MetricsEndpoint> Serve() {
  return Serve([] { return "a 1\n"; });
}

TEST(MetricsEndpointTest, ServesThePage) {
  const auto endpoint = Serve();

  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(Exchange(endpoint->address(), kGet), EndsWith("\r\n\r\na 1\n"));
  }
}

// Twice as long as that of as many busy modules as have series.
TEST(MetricsEndpointTest, ServesALongPage) {
  const std::string page(2'000'000, 'x');
  const auto endpoint = Serve([&] { return page; });

  const std::string answer = Exchange(endpoint->address(), kGet);

  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, page.size());
}

TEST(MetricsEndpointTest, TakesARequestInPieces) {
  const auto endpoint = Serve();
  const UniqueFd client = ConnectTo(endpoint->address());

  for (const char c : std::string(kGet)) SendAll(client, {&c, 1});

  EXPECT_THAT(ReadToEnd(client), EndsWith("\r\n\r\na 1\n"));
}

TEST(MetricsEndpointTest, ChoosesAPort) {
  const auto endpoint = Serve();

  EXPECT_THAT(endpoint->address(), StartsWith("127.0.0.1:"));
  EXPECT_NE(endpoint->address(), "127.0.0.1:0");
}

TEST(MetricsEndpointTest, SaysWhatItCannotListenOn) {
  const auto endpoint = Serve();
  const std::string taken = endpoint->address();

  EXPECT_EQ(MetricsEndpoint::Listen(taken, [] { return ""; }).status(),
            absl::UnavailableError("cannot listen on " + taken +
                                   ": Address already in use"));
  EXPECT_EQ(MetricsEndpoint::Listen("192.0.2.1:1", [] { return ""; }).status(),
            absl::UnavailableError("cannot listen on 192.0.2.1:1: Cannot "
                                   "assign requested address"));
  EXPECT_EQ(
      MetricsEndpoint::Listen("no host:1", [] { return ""; }).status().code(),
      absl::StatusCode::kUnavailable);
}

TEST(MetricsEndpointTest, AnswersBesideMoreSilentClientsThanItKeeps) {
  const auto endpoint = Serve();
  std::vector<UniqueFd> silent;
  for (std::size_t i = 0; i < 5 * MetricsEndpoint::kMaxConnections; ++i) {
    silent.push_back(ConnectTo(endpoint->address()));
    if (i % 2 == 0) SendAll(silent.back(), "GET /met");

    EXPECT_THAT(Exchange(endpoint->address(), kGet), EndsWith("\r\n\r\na 1\n"));
  }

  // The first ones had to go, long before their time was over.
  EXPECT_EQ(ReadToEnd(silent.front()), "");
}

TEST(MetricsEndpointTest, AnswersBesideClientsThatDoNotRead) {
  // More than any socket takes that is not read.
  const std::string long_page(8'000'000, 'x');
  std::atomic<bool> is_long{true};
  const auto endpoint =
      Serve([&] { return is_long ? long_page : std::string("a 1\n"); });
  std::vector<UniqueFd> slow;
  for (std::size_t i = 0; i < MetricsEndpoint::kMaxConnections - 1; ++i) {
    slow.push_back(ConnectTo(endpoint->address()));
    SendAll(slow.back(), kGet);
    char first = 0;
    EXPECT_EQ(recv(slow.back().get(), &first, 1, 0), 1);
  }

  is_long = false;
  // The page is written anew in a quarter of a second.
  while (!Exchange(endpoint->address(), kGet).ends_with("\r\n\r\na 1\n")) {
  }
}

TEST(MetricsEndpointTest, ClosesConnectionsAtTheEndOfTheirTime) {
  const auto endpoint = Serve();
  const UniqueFd silent = ConnectTo(endpoint->address());
  const UniqueFd answered = ConnectTo(endpoint->address());
  SendAll(answered, kGet);

  EXPECT_EQ(ReadToEnd(silent), "");
  EXPECT_THAT(ReadToEnd(answered), EndsWith("\r\n\r\na 1\n"));
}

TEST(MetricsEndpointTest, WritesAPageForManyClientsOnce) {
  std::atomic<int> num_written{0};
  const auto endpoint = Serve([&] {
    ++num_written;
    return "a 1\n";
  });
  const auto start = std::chrono::steady_clock::now();

  for (int i = 0; i < 50; ++i) (void)Exchange(endpoint->address(), kGet);

  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_LE(num_written, took / MetricsEndpoint::kPageAge + 1);
}

TEST(MetricsEndpointTest, EndsBesideOpenConnections) {
  auto endpoint = Serve();
  const UniqueFd silent = ConnectTo(endpoint->address());
  // Behind this, the silent one is known to the endpoint.
  (void)Exchange(endpoint->address(), kGet);

  endpoint.reset();

  EXPECT_EQ(ReadToEnd(silent), "");
}

}  // namespace
}  // namespace attention::testing
