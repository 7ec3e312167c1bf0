// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <semaphore>
#include <stop_token>
#include <thread>

#include "server/repository/unix_file.h"

namespace attention {

/// Turns SIGTERM and SIGINT into a request to stop; the second one, or taking
/// too long after the first, ends the process at once.
///
/// Make it before any other thread, which then inherit the blocked signals.
class StopSignals {
 public:
  /// \param patience how long stopping may take.
  explicit StopSignals(std::chrono::seconds patience);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Requested by the first signal.
  [[nodiscard]] std::stop_token token() const { return stop_.get_token(); }

  /// Wait for the first signal.
  void Wait() { arrived_.acquire(); }

 private:
  void Watch();
  /// Wait for a signal. \return its number; 0 when this is being destroyed, or
  ///   when the time is over.
  int NextSignal(int timeout_milliseconds);

  const std::chrono::seconds patience_;
  UniqueFd signals_;
  UniqueFd closing_;  ///< readable once this is being destroyed
  std::stop_source stop_;
  std::binary_semaphore arrived_{0};
  std::jthread thread_;  ///< last: starts when the rest is there
};

}  // namespace attention
