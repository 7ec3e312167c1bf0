// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/net/line_limit.h"
#include "server/net/listening_socket.h"
#include "server/net/open_connections.h"
#include "server/repository/unix_file.h"

namespace attention {

// The room `server/net`: sockets: addresses, listening, accepting, counting
// connections. Enters: addresses. Leaves: open sockets. It knows no gRPC, and
// of messages how many bytes came on a connection.

/// Why a connection was closed as soon as it came.
enum class Refusal : std::uint8_t {
  kLimit,     ///< as many are open as may be
  kShortage,  ///< of descriptors or memory
};
inline constexpr std::size_t kNumRefusals = 2;

/// Accepts connections, on a thread of its own, until it is stopped.
///
/// A shortage of descriptors or memory does not end it: what cannot be taken is
/// closed, by a descriptor held in reserve, and it goes on. So is a connection
/// beyond the limit.
class AcceptLoop {
 public:
  /// Called on the thread of the loop.
  struct Handlers {
    /// Takes charge of a connection's descriptor, unless it throws.
    std::function<void(int listening_socket, int connection)> hand_over;
    /// Told that the loop has ended though nobody asked for it, and why.
    std::function<void(std::string_view why)> on_failure;
  };

  /// \param connections get those that are accepted; borrowed.
  /// \return as ErrnoStatus, when there is no descriptor left for it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AcceptLoop>> Create(
      std::vector<ListeningSocket> sockets, OpenConnections& connections,
      Handlers handlers);
  ~AcceptLoop();
  AcceptLoop(const AcceptLoop&) = delete;
  AcceptLoop& operator=(const AcceptLoop&) = delete;

  /// Close the listening sockets. Nothing is handed over after it returns;
  /// connections stay open, and their ends are noticed no more. May be called
  /// again.
  void Stop();

  /// Connections refused since the start. Thread-safe.
  [[nodiscard]] std::uint64_t num_refused(Refusal why) const {
    return num_refused_[static_cast<std::size_t>(why)];
  }

 private:
  AcceptLoop(std::vector<ListeningSocket> sockets, OpenConnections& connections,
             Handlers handlers);

  void RunLoop(const std::stop_token& stop);
  // \return 0, or the error that it cannot go on with.
  [[nodiscard]] int RunRound();
  [[nodiscard]] int AcceptFrom(int listening_socket);
  void Take(int listening_socket, UniqueFd connection);
  [[nodiscard]] bool CloseOne(int listening_socket);
  void Pause(const char* why);
  void Refuse(Refusal refusal, std::string_view why);

  const Handlers handlers_;
  std::vector<ListeningSocket> sockets_;
  OpenConnections& connections_;
  UniqueFd wake_;              ///< an eventfd, readable when it is to stop
  UniqueFd reserve_;           ///< closed when a descriptor is needed
  std::vector<pollfd> files_;  ///< to wait for: those two, then sockets_
  std::chrono::steady_clock::time_point resume_;  ///< nothing comes in before
  LineLimit line_limit_{1};
  std::array<std::atomic<std::uint64_t>, kNumRefusals> num_refused_{};
  std::jthread thread_;
};

}  // namespace attention
