// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/log_observer.h"

#include <spdlog/spdlog.h>

#include <cstdint>
#include <string>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

// What a call was: names and values, the text of a failure last.
std::string Describe(const CallRecord& call, const absl::Status& status) {
  return FormatText(
      "method={} peer={} module={} code={} request_bytes={} "
      "response_bytes={} batch_size={} decode_ns={} queue_ns={} compute_ns={} "
      "total_ns={}{}{}",
      call.method, call.caller.peer, call.module,
      absl::StatusCodeToString(status.code()), call.request_bytes,
      call.response_bytes, call.times.batch_size, call.decode.count(),
      call.times.queue.count(), call.times.compute.count(), call.total.count(),
      status.ok() ? "" : " ", StatusText(status));
}

// What streams end with that are not at fault: their requests have failed for
// themselves.
bool EndsStreams(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status);
}

}  // namespace

void LogObserver::OnLeft(const CallRecord& call, const absl::Status& status) {
  const absl::Status logged = CatchBadAlloc([&] {
    if (spdlog::should_log(spdlog::level::debug)) {
      spdlog::debug("{} {}", call.is_stream_request ? "request" : "call",
                    Describe(call, status));
    }
    const bool is_slow = slow_ && call.total >= *slow_;
    const bool is_ended_stream =
        call.is_stream && (status.ok() || EndsStreams(status));
    if (!is_ended_stream && (is_slow || !status.ok())) {
      LogSlowOrFailed(call, status);
    }
    return absl::OkStatus();
  });
  (void)logged;  // without memory for it, a line is missing
}

void LogObserver::LogSlowOrFailed(const CallRecord& call,
                                  const absl::Status& status) {
  const Time now = call.entered + call.total;
  std::optional<std::uint64_t> num_refused;
  {
    const std::lock_guard lock(mutex_);
    if (!status.ok()) failures_.Add(status, now);
    if (slow_) num_refused = limit_.Take(now);
  }
  if (!num_refused) return;
  spdlog::info("{} request not_logged={} {}", status.ok() ? "slow" : "failed",
               *num_refused, Describe(call, status));
}

void LogObserver::OnCompleted(const absl::Status& status,
                              const ForwardTask::Times& times) {
  if (times.batch_size == 0) return;
  spdlog::debug("computed requests={} code={} compute_ns={}", times.batch_size,
                absl::StatusCodeToString(status.code()), times.compute.count());
}

void LogObserver::Tick(Time now) {
  std::string failures;
  std::uint64_t num_refused = 0;
  {
    const std::lock_guard lock(mutex_);
    failures = failures_.Take(now);
    num_refused = limit_.TakeRefused(now);
  }
  if (num_refused > 0) {
    spdlog::info("{} more slow or failed requests are not logged", num_refused);
  }
  if (!failures.empty()) spdlog::warn("{}", failures);
}

}  // namespace attention
