// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstddef>
#include <mutex>
#include <unordered_set>

#include "server/rpc/forward_handler.h"

namespace attention {

class ForwardStreamReactor;

/// The open ForwardStream calls. Thread-safe.
class ForwardStreams {
 public:
  /// Unanswered requests, and bytes of them, at which a stream stops reading.
  static constexpr std::size_t kMaxUnanswered = 64;
  static constexpr std::size_t kMaxUnansweredBytes = std::size_t{64} << 20;

  /// \param handler is borrowed.
  explicit ForwardStreams(const ForwardHandler& handler) : handler_(handler) {}
  ~ForwardStreams() = default;
  ForwardStreams(const ForwardStreams&) = delete;
  ForwardStreams& operator=(const ForwardStreams&) = delete;

  [[nodiscard]] grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
  Open(grpc::CallbackServerContext* context);

  /// Read no more: end every stream with UNAVAILABLE once what it has read is
  /// answered.
  void Drain();

  /// The same for the streams that have been open at least so long, before
  /// their connections end; they are told to open a new one.
  void EndOlderThan(std::chrono::milliseconds age);

 private:
  friend class ForwardStreamReactor;
  void Close(ForwardStreamReactor* stream);

  const ForwardHandler& handler_;
  std::mutex mutex_;
  std::unordered_set<ForwardStreamReactor*> open_;
  bool draining_ = false;
};

}  // namespace attention
