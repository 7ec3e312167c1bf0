// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/serving/serving_observer.h"
#include "server/rpc/call_observer.h"

namespace attention {

/// Writes a debug line to the log for each call that has left, each request of
/// a stream and each task that was computed. Thread-safe.
class LogObserver final : public CallObserver, public ServingObserver {
 public:
  void OnEntered(const CallRecord& /*call*/) override {}
  void OnLeft(const CallRecord& call, const absl::Status& status) override;

  void OnSubmitted() override {}
  void OnStarted(const ForwardTask::Times& /*times*/) override {}
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override;
};

}  // namespace attention
