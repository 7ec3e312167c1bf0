// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "attention/v1/attention_service.pb.h"
#include "core/serving/forward_task.h"
#include "server/rpc/forward_answer.h"

namespace attention {

/// One request of either forward method, from its parsed message to its answer.
///
/// Owns both messages; shared by the reactor, which may cancel it, and the
/// task, which completes it. Completes exactly once.
class ForwardCall final : public ForwardTask::Caller {
 public:
  /// Takes the outcome, on whatever thread completes the call. The answer is
  /// complete when the status is OK.
  using Done = std::function<void(const absl::Status&,
                                  const std::shared_ptr<const ForwardAnswer>&)>;
  using Clock = ForwardTask::Clock;

  /// \param received when the message arrived.
  ForwardCall(std::unique_ptr<v1::ForwardRequest> request,
              Clock::time_point received, Clock::time_point deadline,
              Done done);

  [[nodiscard]] const v1::ForwardRequest& request() const { return *request_; }
  [[nodiscard]] Clock::time_point deadline() const { return deadline_; }

  /// Take over what was reserved for the message. Call before it is handled.
  void SetReservation(AdmissionController::Reservation reservation);

  /// What the handler learns on the way.
  [[nodiscard]] absl::Status ExtendReservation(std::size_t num_bytes,
                                               std::size_t scratch_bytes);
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
  std::unique_ptr<v1::ForwardRequest> request_;
  std::shared_ptr<ForwardAnswer> answer_ = std::make_shared<ForwardAnswer>();
  const Clock::time_point received_;
  const Clock::time_point deadline_;
  std::atomic<bool> cancelled_{false};
  Done done_;
};

}  // namespace attention
