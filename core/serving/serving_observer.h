// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "core/serving/forward_task.h"

namespace attention {

/// Told what becomes of an executor's tasks, whoever asked for them:
/// submitted → started → completed; or submitted → completed, when a task is
/// refused, cancelled or late before its turn.
///
/// Each event of a task comes once and in this order, on whatever thread makes
/// it happen, so implementations are thread-safe, quick, and do not throw.
class ServingObserver {
 public:
  virtual ~ServingObserver() = default;
  /// A task was handed to the executor.
  virtual void OnSubmitted() = 0;
  /// Requests of one module are computed together from now on, each of which
  /// is told by OnStarted next; again of each alone, if that comes to nothing.
  /// \param size of all of them.
  virtual void OnBatchStarted(std::size_t /*num_requests*/,
                              const ForwardTask::Size& /*size*/) {}
  /// It is computed from now on, `times.batch_size` requests together.
  virtual void OnStarted(const ForwardTask::Times& times) = 0;
  /// It has its outcome, which its caller takes next. Not started when
  /// `times.batch_size` is 0.
  virtual void OnCompleted(const absl::Status& status,
                           const ForwardTask::Times& times) = 0;
};

}  // namespace attention
