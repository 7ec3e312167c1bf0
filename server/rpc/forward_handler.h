// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "core/module/module_registry.h"
#include "core/serving/admission_controller.h"
#include "core/serving/executor.h"
#include "server/rpc/forward_call.h"
#include "server/rpc/server_state.h"

namespace attention {

/// The way of a request from its message to the executor: find the module,
/// validate, admit, queue. Thread-safe.
class ForwardHandler {
 public:
  /// What the handler works with; borrowed.
  struct Parts {
    const SharedServerState& state;
    const ModuleRegistry& registry;
    AdmissionController& admission;
    Executor& executor;
    /// Longest answer.
    std::size_t max_message_bytes;
  };

  explicit ForwardHandler(const Parts& parts) : parts_(parts) {}

  /// Take charge of a call, which completes exactly once: here when it is
  /// refused, in Cancel, or on the executor's thread. Does not block or
  /// compute.
  void Handle(const std::shared_ptr<ForwardCall>& call) const;

  /// Drop a call, which completes here if it is queued.
  void Cancel(ForwardCall& call) const;

  /// What messages are reserved of, before they are parsed.
  [[nodiscard]] AdmissionController& admission() const {
    return parts_.admission;
  }

 private:
  [[nodiscard]] absl::StatusOr<ForwardTask::Work> Prepare(
      ForwardCall& call) const;
  [[nodiscard]] absl::Status Admit(ForwardCall& call,
                                   const ForwardTask::Work& work) const;

  const Parts parts_;
};

}  // namespace attention
