// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/metrics/http_connection.h"
#include "server/metrics/http_request.h"
#include "server/repository/unix_file.h"

namespace attention {

/// Serves one page, GET /metrics, over HTTP/1.1, on a thread of its own.
///
/// Whoever connects cannot make it cost much: at most kMaxConnections are open,
/// the oldest giving way to a new one; each has kMaxTime from connecting to
/// closing; they are looked at once in kPause; a page is written anew once in
/// kPageAge at most.
class MetricsEndpoint {
 public:
  static constexpr std::size_t kMaxConnections = 16;
  static constexpr std::chrono::seconds kMaxTime{5};
  static constexpr std::chrono::milliseconds kPause{2};
  static constexpr std::chrono::milliseconds kPageAge{250};

  /// Listen and serve.
  /// \param address HOST:PORT. \param page is called on the endpoint's thread.
  /// \return UNAVAILABLE naming the address and why, when it cannot be listened
  ///   on.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Listen(
      const std::string& address, PageWriter page);
  /// Close every connection.
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  /// The address, with the port chosen.
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  using Time = HttpConnection::Time;

  MetricsEndpoint(UniqueFd listener, UniqueFd stop, std::string address,
                  PageWriter page);

  void RunLoop();
  /// Wait until there is something to do, or until the end.
  /// \return whether to go on.
  [[nodiscard]] bool Wait();
  void AdvanceAll();
  void Accept();
  const std::string& Page();

  const UniqueFd listener_;
  const UniqueFd stop_;  ///< an eventfd, readable when it is to end
  const std::string address_;
  const PageWriter write_page_;
  // Of the thread:
  std::list<HttpConnection> connections_;  ///< in the order of their coming
  std::string page_;
  Time page_written_;
  std::jthread thread_;  ///< last: starts when the rest is there
};

}  // namespace attention
