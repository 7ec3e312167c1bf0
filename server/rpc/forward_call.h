// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "core/serving/admission_controller.h"
#include "core/serving/forward_task.h"
#include "server/rpc/front_door.h"
#include "server/rpc/request_codec.h"

namespace attention {

/// One forward request of any protocol, from the door to its answer.
///
/// Owns both messages, as its codec; shared by the reactor, which may cancel
/// it, and the task, which completes it. Completes exactly once, once it is
/// handled.
class ForwardCall final : public ForwardTask::Caller {
 public:
  /// Takes what the client gets, on whatever thread completes the call. The
  /// message is the answer, or, of a failed request, what its codec says.
  using Done = std::function<void(const grpc::Status&, grpc::ByteBuffer*)>;

  ForwardCall(Visit visit, std::unique_ptr<RequestCodec> codec, Done done);

  [[nodiscard]] const RequestCodec& codec() const { return *exchange_->codec; }
  /// Whether more of its caller's may follow at once.
  [[nodiscard]] bool is_stream_request() const {
    return visit_.record().is_stream_request;
  }
  [[nodiscard]] ForwardTask::Clock::time_point deadline() const {
    return visit_.record().deadline;
  }

  /// Take over what was reserved for the message. Call before it is handled.
  void SetReservation(AdmissionController::Reservation reservation);

  /// What the handler learns on the way.
  [[nodiscard]] absl::Status ExtendReservation(std::size_t num_bytes,
                                               std::size_t scratch_bytes);
  /// A valid name, served or not.
  void SetModule(std::string_view name) { visit_.record().module = name; }
  /// Mark the end of decoding.
  void SetDecoded(std::uint64_t module_version);

  /// Ask for the call to be dropped, queued or computing. Thread-safe.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] bool IsCancelled() const override {
    return cancelled_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] AttentionOutputs AllocateOutputs(const OutputShapes& shapes,
                                                 DataType dtype) override;
  void Complete(const absl::Status& status,
                const ForwardTask::Times& times) override;

 private:
  // Both messages, and the memory budget they take: the request until it has
  // been computed, the answer as long as its bytes share this, which is until
  // they have left the process.
  struct Exchange {
    AdmissionController::Reservation reservation;  ///< outlives the codec
    std::unique_ptr<RequestCodec> codec;
  };

  Visit visit_;
  std::shared_ptr<Exchange> exchange_;
  std::atomic<bool> cancelled_{false};
  const Done done_;
};

}  // namespace attention
