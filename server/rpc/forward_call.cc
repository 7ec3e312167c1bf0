// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_call.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "core/tensor/status_text.h"
#include "proto/wire/forward_codec.h"

namespace attention {
namespace {

std::uint64_t Nanoseconds(std::chrono::nanoseconds duration) {
  return static_cast<std::uint64_t>(duration.count());
}

}  // namespace

ForwardCall::ForwardCall(std::unique_ptr<v1::ForwardRequest> request,
                         Clock::time_point received, Clock::time_point deadline,
                         Done done)
    : request_(std::move(request)),
      received_(received),
      deadline_(deadline),
      done_(std::move(done)) {}

void ForwardCall::SetReservation(AdmissionController::Reservation reservation) {
  answer_->reservation = std::move(reservation);
}

absl::Status ForwardCall::ExtendReservation(std::size_t num_bytes,
                                            std::size_t scratch_bytes) {
  return answer_->reservation.Extend(num_bytes, scratch_bytes);
}

void ForwardCall::SetDecoded(std::uint64_t module_version) {
  answer_->response.set_module_version(module_version);
  answer_->response.mutable_timing()->set_decode_time_ns(
      Nanoseconds(Clock::now() - received_));
}

AttentionOutputs ForwardCall::AllocateOutputs(const OutputShapes& shapes,
                                              DataType dtype) {
  return attention::AllocateOutputs(shapes, dtype, &answer_->response);
}

void ForwardCall::Complete(const absl::Status& status,
                           const ForwardTask::Times& times) {
  v1::Timing& timing = *answer_->response.mutable_timing();
  timing.set_queue_time_ns(Nanoseconds(times.queue));
  timing.set_compute_time_ns(Nanoseconds(times.compute));
  answer_->response.set_batch_size(1);
  spdlog::debug(
      "forward module={} code={} decode_ns={} queue_ns={} compute_ns={}{}{}",
      request_->module(), absl::StatusCodeToString(status.code()),
      timing.decode_time_ns(), timing.queue_time_ns(), timing.compute_time_ns(),
      status.ok() ? "" : " ", StatusText(status));
  request_.reset();  // its memory, before the answer's copy on the wire
  done_(status, std::exchange(answer_, nullptr));
}

}  // namespace attention
