// SPDX-License-Identifier: Apache-2.0
#include "tests/server/metrics/scrape.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <sstream>

namespace attention::testing {
namespace {

constexpr std::chrono::minutes kPatience{1};

}  // namespace

UniqueFd ConnectTo(const std::string& address) {
  UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = std::chrono::seconds(kPatience).count(),
                         .tv_usec = 0};
  setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience,
             sizeof(patience));
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons(static_cast<std::uint16_t>(
      std::stoi(address.substr(address.rfind(':') + 1))));
  EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&server),
                    sizeof(server)),
            0);
  return client;
}

void SendAll(const UniqueFd& socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(count, 0);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::string ReadToEnd(const UniqueFd& socket) {
  std::string bytes;
  std::array<char, 4096> piece{};
  while (true) {
    const ssize_t count = recv(socket.get(), piece.data(), piece.size(), 0);
    if (count == 0) return bytes;
    if (count < 0) {
      EXPECT_EQ(errno, ECONNRESET);
      return bytes;
    }
    bytes.append(piece.data(), static_cast<std::size_t>(count));
  }
}

std::string Exchange(const std::string& address, std::string_view request) {
  const UniqueFd client = ConnectTo(address);
  SendAll(client, request);
  return ReadToEnd(client);
}

Scrape::Scrape(std::string_view page) {
  std::istringstream lines{std::string(page)};
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    const std::size_t space = line.rfind(' ');
    const std::string series = line.substr(0, space);
    EXPECT_TRUE(values_.emplace(series, std::stod(line.substr(space))).second)
        << "twice: " << series;
  }
}

double Scrape::operator[](const std::string& series) const {
  const auto found = values_.find(series);
  return found == values_.end() ? 0 : found->second;
}

std::size_t Scrape::CountWith(std::string_view part) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(values_, [part](const auto& value) {
        return value.first.find(part) != std::string::npos;
      }));
}

Scrape ScrapeFrom(const std::string& address) {
  const std::string answer =
      Exchange(address, "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  const std::size_t head = answer.find("\r\n\r\n");
  return Scrape(head == std::string::npos
                    ? std::string_view()
                    : std::string_view(answer).substr(head + 4));
}

Scrape ScrapeUntil(const std::string& address,
                   const std::function<bool(const Scrape&)>& expected) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    Scrape scrape = ScrapeFrom(address);
    if (expected(scrape)) return scrape;
    if (std::chrono::steady_clock::now() > until) {
      ADD_FAILURE() << "the metrics are not what they should be";
      return scrape;
    }
  }
}

}  // namespace attention::testing
