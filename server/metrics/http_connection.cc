// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/http_connection.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

namespace attention {
namespace {

constexpr std::size_t kPieceBytes = 4096;

bool WouldWait() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

bool HttpConnection::Advance(const PageWriter& page) {
  return is_writing() ? Write() : Read(page);
}

bool HttpConnection::Read(const PageWriter& page) {
  std::array<char, kPieceBytes> piece{};
  const ssize_t count = recv(fd(), piece.data(), piece.size(), 0);
  if (count < 0) return WouldWait();
  if (count == 0) return false;
  if (state_ == State::kClosing) return true;  // whatever it is
  received_.append(piece.data(), static_cast<std::size_t>(count));
  std::optional<std::string> answer = AnswerHttp(received_, page);
  if (!answer) return true;
  answer_ = *std::move(answer);
  state_ = State::kWriting;
  return Write();
}

bool HttpConnection::Write() {
  while (num_sent_ < answer_.size()) {
    const ssize_t count = send(fd(), answer_.data() + num_sent_,
                               answer_.size() - num_sent_, MSG_NOSIGNAL);
    if (count < 0) return WouldWait();
    num_sent_ += static_cast<std::size_t>(count);
  }
  answer_ = std::string();
  state_ = State::kClosing;
  return shutdown(fd(), SHUT_WR) == 0;
}

}  // namespace attention
