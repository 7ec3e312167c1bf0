// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/log_observer.h"

#include <spdlog/spdlog.h>

#include "core/tensor/status_text.h"

namespace attention {

void LogObserver::OnLeft(const CallRecord& call, const absl::Status& status) {
  spdlog::debug(
      "{} method={} peer={} module={} code={} request_bytes={} "
      "response_bytes={} decode_ns={} queue_ns={} compute_ns={} "
      "total_ns={}{}{}",
      call.is_stream_request ? "request" : "call", call.method,
      call.caller.peer, call.module, absl::StatusCodeToString(status.code()),
      call.request_bytes, call.response_bytes, call.decode.count(),
      call.times.queue.count(), call.times.compute.count(), call.total.count(),
      status.ok() ? "" : " ", StatusText(status));
}

void LogObserver::OnCompleted(const absl::Status& status,
                              const ForwardTask::Times& times) {
  if (times.batch_size == 0) return;
  spdlog::debug("computed requests={} code={} compute_ns={}", times.batch_size,
                absl::StatusCodeToString(status.code()), times.compute.count());
}

}  // namespace attention
