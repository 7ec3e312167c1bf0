// SPDX-License-Identifier: Apache-2.0
#include "server/net/accept_loop.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// After a shortage of what only others can give back.
constexpr milliseconds kPause{50};
// Then others have their turn.
constexpr int kAcceptsInTurn = 64;
constexpr int kForever = -1;
// Positions in files_.
constexpr std::size_t kEnds = 1;
constexpr std::size_t kFirstSocket = 2;

enum class AcceptError : std::uint8_t {
  kNobodyWaits,
  kOfOneConnection,  ///< accept(2): errors already pending on the new one
  kNoDescriptor,
  kNoMemory,
  kBroken,  ///< the listening socket is of no use
};

AcceptError Classify(int error) {
  switch (error) {
    case EAGAIN:
      return AcceptError::kNobodyWaits;
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
    case EPERM:  // a firewall's
      return AcceptError::kOfOneConnection;
    case EMFILE:
    case ENFILE:
      return AcceptError::kNoDescriptor;
    case ENOBUFS:
    case ENOMEM:
      return AcceptError::kNoMemory;
    default:
      return AcceptError::kBroken;
  }
}

UniqueFd Accept(int listening_socket) {
  return UniqueFd(accept4(listening_socket, nullptr, nullptr,
                          SOCK_NONBLOCK | SOCK_CLOEXEC));
}

UniqueFd NewEvent() { return UniqueFd(eventfd(0, EFD_CLOEXEC)); }

}  // namespace

absl::StatusOr<std::unique_ptr<AcceptLoop>> AcceptLoop::Create(
    std::vector<ListeningSocket> sockets, OpenConnections& connections,
    Handlers handlers) {
  std::unique_ptr<AcceptLoop> loop(
      new AcceptLoop(std::move(sockets), connections, std::move(handlers)));
  if (!loop->wake_.valid() || !loop->reserve_.valid()) {
    return ErrnoStatus(errno, "cannot accept connections");
  }
  loop->thread_ = std::jthread(
      [&loop = *loop](const std::stop_token& stop) { loop.RunLoop(stop); });
  return loop;
}

AcceptLoop::AcceptLoop(std::vector<ListeningSocket> sockets,
                       OpenConnections& connections, Handlers handlers)
    : handlers_(std::move(handlers)),
      sockets_(std::move(sockets)),
      connections_(connections),
      wake_(NewEvent()),
      reserve_(NewEvent()),
      files_({{wake_.get(), POLLIN, 0}, {connections_.ends(), POLLIN, 0}}) {
  for (const ListeningSocket& socket : sockets_) {
    files_.push_back({socket.get(), POLLIN, 0});
  }
}

AcceptLoop::~AcceptLoop() { Stop(); }

void AcceptLoop::Stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  eventfd_write(wake_.get(), 1);
  thread_.join();
  sockets_.clear();
}

// Whatever ends it but Stop is told; nothing it says or does to survive a
// shortage needs memory.
void AcceptLoop::RunLoop(const std::stop_token& stop) {
  try {
    while (!stop.stop_requested()) {
      const int error = RunRound();
      if (error != 0) return handlers_.on_failure(strerrordesc_np(error));
    }
  } catch (const std::exception& error) {
    handlers_.on_failure(error.what());
  }
}

int AcceptLoop::RunRound() {
  const milliseconds pause =
      std::chrono::ceil<milliseconds>(resume_ - Clock::now());
  const bool pauses = pause > milliseconds(0);
  const std::size_t num_files = pauses ? kFirstSocket : files_.size();
  if (poll(files_.data(), num_files,
           pauses ? static_cast<int>(pause.count()) : kForever) < 0) {
    return errno == EINTR ? 0 : errno;
  }
  if (files_[kEnds].revents != 0) connections_.ForgetEnded();
  for (std::size_t i = kFirstSocket; i < num_files; ++i) {
    if (files_[i].revents == 0) continue;
    const int error = AcceptFrom(files_[i].fd);
    if (error != 0) return error;
  }
  return 0;
}

int AcceptLoop::AcceptFrom(int listening_socket) {
  for (int i = 0; i < kAcceptsInTurn; ++i) {
    UniqueFd connection = Accept(listening_socket);
    if (connection.valid()) {
      Take(listening_socket, std::move(connection));
      continue;
    }
    const int error = errno;
    switch (Classify(error)) {
      case AcceptError::kNobodyWaits:
        return 0;
      case AcceptError::kOfOneConnection:
        break;
      case AcceptError::kNoDescriptor:
        if (CloseOne(listening_socket)) {
          Refuse(Refusal::kShortage, strerrordesc_np(error));
          break;
        }
        [[fallthrough]];
      case AcceptError::kNoMemory:
        Pause(strerrordesc_np(error));
        return 0;
      case AcceptError::kBroken:
        return error;
    }
  }
  return 0;
}

void AcceptLoop::Take(int listening_socket, UniqueFd connection) {
  if (!connections_.HasRoom()) {
    return Refuse(Refusal::kLimit,
                  "as many are open as may (--max-connections)");
  }
  const absl::Status taken = CatchBadAlloc([&] {
    ATTENTION_RETURN_IF_ERROR(connections_.Add(connection.get()));
    handlers_.hand_over(listening_socket, connection.get());
    static_cast<void>(connection.Release());
    return absl::OkStatus();
  });
  if (taken.ok()) return;
  shutdown(connection.get(), SHUT_RDWR);  // it may have been counted
  Refuse(Refusal::kShortage, StatusText(taken));
}

// Close a connection that there is no descriptor for, so that its peer knows.
bool AcceptLoop::CloseOne(int listening_socket) {
  if (!reserve_.valid()) reserve_ = NewEvent();
  if (!reserve_.valid()) return false;
  reserve_ = UniqueFd();
  const bool accepted = Accept(listening_socket).valid();
  reserve_ = NewEvent();
  return accepted;
}

void AcceptLoop::Pause(const char* why) {
  resume_ = Clock::now() + kPause;
  if (line_limit_.Take(Clock::now())) {
    spdlog::warn("connections have to wait: {}", why);
  }
}

void AcceptLoop::Refuse(Refusal refusal, std::string_view why) {
  ++num_refused_[static_cast<std::size_t>(refusal)];
  const std::optional<std::uint64_t> num_before =
      line_limit_.Take(Clock::now());
  if (!num_before) return;
  if (*num_before == 0) {
    spdlog::warn("refused a connection: {}", why);
  } else {
    spdlog::warn("refused a connection: {}; and {} more before", why,
                 *num_before);
  }
}

}  // namespace attention
