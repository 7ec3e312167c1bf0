// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/net/listening_socket.h"
#include "server/repository/unix_file.h"

namespace attention::testing {

/// Stands between clients and a server, and after so many bytes of a connection
/// passes no more on in that direction, reads none, and leaves it open.
class Relay {
 public:
  struct Limits {
    std::size_t to_server = std::numeric_limits<std::size_t>::max();
    std::size_t to_client = std::numeric_limits<std::size_t>::max();
  };

  Relay(std::string server, const Limits& limits);
  /// Close all connections.
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  /// Where clients connect to.
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  void RunLoop();
  void Pass(int from, int to, std::size_t limit);

  const std::string server_;
  const Limits limits_;
  std::string address_ = "127.0.0.1:0";
  std::vector<ListeningSocket> sockets_;
  std::mutex mutex_;
  bool is_closing_ = false;     ///< guarded by mutex_
  std::vector<UniqueFd> ends_;  ///< likewise; of all connections
  std::vector<std::jthread> passers_;
  std::jthread thread_;
};

}  // namespace attention::testing
