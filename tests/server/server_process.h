// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "server/repository/unix_file.h"

namespace attention::testing {

/// The real attention-server as a child process; killed when this dies before
/// it has ended. Not thread-safe.
class ServerProcess {
 public:
  /// Start it with these arguments behind its name, in this process's
  /// environment and more.
  /// \param environment such as "NAME=VALUE".
  explicit ServerProcess(std::vector<std::string> arguments,
                         std::vector<std::string> environment = {});
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  /// Wait for the address it logs; empty when it ends before.
  [[nodiscard]] std::string WaitForAddress();

  void Signal(int signal) const;

  /// Let it open no more descriptors than so many.
  void LimitDescriptors(std::size_t count) const;

  /// Stop it, as SIGSTOP does, and wait until it stands still.
  void Stop() const;

  /// Wait for its end. \return its exit code, or -signal.
  int WaitForExit();

  /// What it has written to stderr, as far as it was read: all, once it ended.
  [[nodiscard]] const std::string& log() const { return log_; }

 private:
  /// Read some of stderr. \return false at its end.
  bool ReadLog();

  pid_t process_ = -1;
  UniqueFd stderr_;
  std::string log_;
};

}  // namespace attention::testing
