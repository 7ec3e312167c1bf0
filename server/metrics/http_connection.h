// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "server/metrics/http_request.h"
#include "server/repository/unix_file.h"

namespace attention {

/// One connection to the endpoint: kReading → kWriting → kClosing → (over).
///
/// Takes one request, answers it, and waits until the other end has closed, so
/// that the answer is not lost. Never waits for the socket. Not thread-safe.
class HttpConnection {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// \param socket does not block. \param deadline by which it is over.
  HttpConnection(UniqueFd socket, Time deadline)
      : socket_(std::move(socket)), deadline_(deadline) {}

  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] Time deadline() const { return deadline_; }
  /// Whether it waits until the socket takes bytes, not until it has some.
  [[nodiscard]] bool is_writing() const { return state_ == State::kWriting; }

  /// Read and write what goes now, a piece of what is read at a time.
  /// \return whether it goes on.
  [[nodiscard]] bool Advance(const PageWriter& page);

 private:
  enum class State : std::uint8_t { kReading, kWriting, kClosing };

  [[nodiscard]] bool Read(const PageWriter& page);
  [[nodiscard]] bool Write();

  UniqueFd socket_;
  Time deadline_;
  State state_ = State::kReading;
  std::string received_;
  std::string answer_;
  std::size_t num_sent_ = 0;
};

}  // namespace attention
