// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/serving/admission_controller.h"
#include "server/rpc/answer_watch.h"
#include "server/rpc/call_observer.h"
#include "server/rpc/call_tracker.h"
#include "server/rpc/request_codec.h"
#include "server/rpc/server_state.h"

namespace attention {

// The room `server/rpc`: everything that sees a gRPC call: listeners, services,
// streams, one codec per protocol, and the door all calls use. Enters: raw
// messages. Leaves: statuses and bytes. Uses server/modules, server/net,
// proto/wire and core/serving; what is computed, and on what, it does not know.

/// What a request's bookkeeping takes beside its messages.
inline constexpr std::size_t kCallBytes = 4096;

/// A call, or one request of a stream, from entering by the front door to
/// leaving by it, which the observer is told. Move-only. Not thread-safe.
class Visit {
 public:
  /// \param observer, context: borrowed; no context for a stream's request.
  Visit(CallObserver& observer, grpc::CallbackServerContext* context,
        CallRecord record);
  Visit(Visit&& other) noexcept;
  Visit& operator=(Visit&&) = delete;
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  /// Leave with CANCELLED unless it has left.
  ~Visit();

  [[nodiscard]] const CallRecord& record() const { return record_; }
  /// For what becomes known on the way.
  [[nodiscard]] CallRecord& record() { return record_; }

  /// Count a message that has come whole.
  void AddMessage(std::size_t num_bytes);

  /// Leave, once.
  /// \return what the client gets; a client of an overloaded server is told
  ///   when to try again (`grpc-retry-pushback-ms`).
  grpc::Status Leave(const absl::Status& status);

 private:
  CallObserver* observer_;  ///< null once it has left
  grpc::CallbackServerContext* context_;
  CallRecord record_;
};

/// The one way in and out, for every call of every service but gRPC's own
/// health: who calls, whether the server serves, whether there is memory, until
/// when the answer is wanted, and who is told. Thread-safe.
///
/// Entering finds out who calls and until when, and tells the observer; it
/// refuses nobody. The state and the memory are for the services to ask for:
///
///   Forward, a ForwardStream's requests  CheckServing and Admit
///   ModuleService                        CheckServing
///   ForwardStream itself, reflection, unknown methods  neither
class FrontDoor {
 public:
  /// What the door looks at and whom it tells; borrowed.
  struct Parts {
    const SharedServerState& state;
    AdmissionController& admission;
    CallObserver& observer;
    AnswerWatch& answers;
  };

  explicit FrontDoor(const Parts& parts) : parts_(parts) {}

  /// Let a call in, unchecked. \param method outlives the call.
  [[nodiscard]] Visit Enter(std::string_view method,
                            grpc::CallbackServerContext* context) const;
  /// Let one request of a stream in, unchecked.
  [[nodiscard]] Visit EnterRequest(const Visit& stream,
                                   const grpc::ByteBuffer& message) const;

  /// Return UNAVAILABLE unless requests are to be served.
  [[nodiscard]] absl::Status CheckServing() const {
    return attention::CheckServing(parts_.state);
  }

  /// Reserve what parsing a forward request holds, then parse it. Its bytes are
  /// free afterwards.
  /// \return a reservation of what it holds parsed, bookkeeping included; the
  ///   codec's errors; RESOURCE_EXHAUSTED as AdmissionController.
  [[nodiscard]] absl::StatusOr<AdmissionController::Reservation> Admit(
      RequestCodec& codec, grpc::ByteBuffer* message) const;

  /// The calls a draining server waits for.
  [[nodiscard]] CallTracker& calls() { return calls_; }
  /// Answers on their way to their callers.
  [[nodiscard]] AnswerWatch& answers() const { return parts_.answers; }

 private:
  const Parts parts_;
  CallTracker calls_;
};

/// What gRPC calls a raw unary method with.
struct UnaryCall {
  std::string_view method;  ///< "/SERVICE/METHOD"; outlives the call
  grpc::CallbackServerContext* context;
  const grpc::ByteBuffer* request;
  grpc::ByteBuffer* response;
};

}  // namespace attention
