// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/host/options.h"
#include "server/rpc/server_state.h"
#include "server/rpc/timeouts.h"

namespace attention {

// The room `server/host`: what makes a process of the parts: options, log,
// signals, limits of the machine, and the server that owns the other rooms'
// objects. Enters: command lines and signals, no call and no message. Uses
// server/metrics and what lies below it; asks core/module what it computes
// with.

/// The whole server: kCreated → kStarting → kServing → kDraining → kStopped.
///
/// When it can accept no connections any more, the process ends with code 1.
///
/// Start once, Drain once. state() is thread-safe, the rest is not. Several may
/// live in one process.
class Server {
 public:
  explicit Server(ServerOptions options, const ServerTimeouts& timeouts = {});
  /// Drain without grace, unless drained before.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Listen, load the modules to serve, then serve. While loading, requests get
  /// UNAVAILABLE and health says NOT_SERVING.
  /// \param stop ends loading early, between two modules: CANCELLED.
  /// \return one line saying what cannot be done: an address that cannot be
  ///   listened on, a repository that cannot be read, a module named in the
  ///   options that cannot be loaded. Of "all" those that cannot be are logged
  ///   and remembered as failed.
  [[nodiscard]] absl::Status Start(const std::stop_token& stop = {});

  /// Addresses listened on, as in the options but with the ports chosen.
  [[nodiscard]] const std::vector<std::string>& addresses() const;

  /// Where metrics are served, as HOST:PORT; empty if they are not.
  [[nodiscard]] std::string metrics_address() const;

  [[nodiscard]] ServerState state() const;

  /// Refuse new requests, finish those in flight within the grace of the
  /// options, cancel the rest, and stop.
  void Drain();

 private:
  struct Parts;

  [[nodiscard]] absl::Status Listen();
  [[nodiscard]] absl::Status ServeMetrics();
  void ShutDown(std::chrono::milliseconds linger);
  [[nodiscard]] absl::Status LoadModules(const std::stop_token& stop);
  void SetHealth(const std::string& name, bool serving);

  const ServerOptions options_;
  const ServerTimeouts timeouts_;
  SharedServerState state_{ServerState::kCreated};
  std::vector<std::string> addresses_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace attention
