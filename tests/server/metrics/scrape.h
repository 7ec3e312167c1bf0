// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "server/repository/unix_file.h"

namespace attention::testing {

/// A client's end of a connection, to "127.0.0.1:PORT".
[[nodiscard]] UniqueFd ConnectTo(const std::string& address);

/// Send all of it; fails the test if the other end does not take it.
void SendAll(const UniqueFd& socket, std::string_view bytes);

/// Read until the other end closes. A test that waits for a minute fails.
[[nodiscard]] std::string ReadToEnd(const UniqueFd& socket);

/// Send a request on a connection of its own and read the whole answer.
[[nodiscard]] std::string Exchange(const std::string& address,
                                   std::string_view request);

/// Values by their series, such as `a_total{code="OK"}`. What is not there is
/// 0.
class Scrape {
 public:
  /// Read a page in Prometheus's text format.
  explicit Scrape(std::string_view page);

  [[nodiscard]] double operator[](const std::string& series) const;
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  /// Number of series whose text has a part.
  [[nodiscard]] std::size_t CountWith(std::string_view part) const;

 private:
  std::map<std::string, double> values_;
};

/// Scrape what is served at an address.
[[nodiscard]] Scrape ScrapeFrom(const std::string& address);

/// Scrape until it is as expected: what a client knows to be done may not be
/// counted yet, and a page is up to a quarter of a second old. Fails the test
/// after a minute.
Scrape ScrapeUntil(const std::string& address,
                   const std::function<bool(const Scrape&)>& expected);

}  // namespace attention::testing
