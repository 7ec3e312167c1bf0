// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/serving/forward_task.h"

namespace attention {

/// Who calls. What else is known of a caller, such as who vouches for it, has
/// its place here and is found out by FrontDoor::Enter.
struct Caller {
  std::string peer;  ///< address as gRPC has it, such as "ipv4:127.0.0.1:4711"
};

/// A call, or one request of a stream.
struct CallRecord {
  using Clock = ForwardTask::Clock;

  // Known when it enters, is_stream soon after.
  std::string_view method;  ///< "/SERVICE/METHOD", or kUnknownMethod
  Caller caller;
  /// Whether it is one request of the call `method`, which is on record itself.
  bool is_stream_request = false;
  /// Whether it is a stream that lasts as long as its client likes.
  bool is_stream = false;
  Clock::time_point entered;
  Clock::time_point deadline = Clock::time_point::max();

  // Known when it leaves; zero and empty as far as it did not come.
  std::string module;  ///< asked for; empty unless a valid name
  std::uint64_t module_version = 0;
  std::size_t request_bytes = 0;   ///< of its messages, without its requests'
  std::size_t response_bytes = 0;  ///< of its answer, if it has succeeded
  std::chrono::nanoseconds decode{0};  ///< from entering to being queued
  std::chrono::nanoseconds total{0};   ///< from entering to leaving
  ForwardTask::Times times;
};

/// Method of the calls of what is not served: theirs may be anything.
inline constexpr std::string_view kUnknownMethod = "unknown";

/// Told of every call, and of every request of a stream.
///
/// Each enters once and leaves once, in this order; a stream's request may
/// leave after its stream. This is on whatever thread makes it happen, and may
/// be with locks of the room held: implementations are thread-safe, must be
/// quick, must not call back into the room, and do not throw.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void OnEntered(const CallRecord& call) = 0;
  /// Told of each message when it has come whole; of a ForwardStream's for the
  /// request it is, not for the stream.
  virtual void OnMessage(const CallRecord& call, std::size_t num_bytes) {
    static_cast<void>(call);
    static_cast<void>(num_bytes);
  }
  /// \param status of the call: the code the client gets, and the text before
  ///   it is shortened.
  virtual void OnLeft(const CallRecord& call, const absl::Status& status) = 0;
};

}  // namespace attention
