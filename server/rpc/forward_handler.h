// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "core/module/module_registry.h"
#include "core/serving/admission_controller.h"
#include "core/serving/executor.h"
#include "core/tensor/buffer_pool.h"
#include "server/rpc/forward_call.h"
#include "server/rpc/front_door.h"

namespace attention {

/// The way of a request, in whatever protocol it came, from the door to the
/// executor: find the module, validate, admit, queue. Thread-safe.
class ForwardHandler {
 public:
  /// What the handler works with; borrowed.
  struct Parts {
    FrontDoor& door;
    const ModuleRegistry& registry;
    Executor& executor;
    BufferPool& buffers;
    /// Longest answer.
    std::size_t max_message_bytes;
  };

  explicit ForwardHandler(const Parts& parts) : parts_(parts) {}

  /// Take charge of a call, which completes exactly once: here when it is
  /// refused, or computed at once (Executor::ComputeOrSubmit), in Cancel, or on
  /// the executor's thread.
  /// \param admitted what the door said to the call's message: the memory it
  ///   holds, or why it is refused.
  void Handle(const std::shared_ptr<ForwardCall>& call,
              absl::StatusOr<AdmissionController::Reservation> admitted) const;

  /// Drop a call, which completes here if it is queued.
  void Cancel(ForwardCall& call) const;

  [[nodiscard]] FrontDoor& door() const { return parts_.door; }
  /// Memory for requests and answers.
  [[nodiscard]] BufferPool& buffers() const { return parts_.buffers; }

 private:
  [[nodiscard]] absl::StatusOr<ForwardTask::Work> Prepare(
      ForwardCall& call,
      absl::StatusOr<AdmissionController::Reservation> admitted) const;
  [[nodiscard]] absl::Status Admit(ForwardCall& call,
                                   const ForwardTask::Work& work) const;

  const Parts parts_;
};

}  // namespace attention
