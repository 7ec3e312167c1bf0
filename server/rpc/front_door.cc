// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/front_door.h"

#include <grpcpp/server_context.h>

#include <cassert>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/status_codec.h"

namespace attention {
namespace {

using Clock = CallRecord::Clock;
using Reservation = AdmissionController::Reservation;

// When the client stops waiting; the largest time if never.
Clock::time_point Deadline(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  const auto now = std::chrono::system_clock::now();
  // Beyond a year means never, and the difference below cannot overflow.
  if (deadline > now + std::chrono::years(1)) return Clock::time_point::max();
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(deadline - now);
}

}  // namespace

Visit::Visit(CallObserver& observer, grpc::CallbackServerContext* context,
             CallRecord record)
    : observer_(&observer), context_(context), record_(std::move(record)) {
  observer_->OnEntered(record_);
}

Visit::Visit(Visit&& other) noexcept
    : observer_(std::exchange(other.observer_, nullptr)),
      context_(other.context_),
      record_(std::move(other.record_)) {}

Visit::~Visit() {
  if (observer_ == nullptr) return;
  Leave(absl::CancelledError("the server dropped the request"));
}

void Visit::AddMessage(std::size_t num_bytes) {
  record_.request_bytes += num_bytes;
  observer_->OnMessage(record_, num_bytes);
}

grpc::Status Visit::Leave(const absl::Status& status) {
  assert(observer_ != nullptr);
  record_.total = Clock::now() - record_.entered;
  std::exchange(observer_, nullptr)->OnLeft(record_, status);
  if (context_ == nullptr) return ToGrpcStatus(status);
  if (const auto delay = RetryDelay(status)) {
    context_->AddTrailingMetadata("grpc-retry-pushback-ms",
                                  std::to_string(delay->count()));
  }
  return ToGrpcStatus(status);
}

Visit FrontDoor::Enter(std::string_view method,
                       grpc::CallbackServerContext* context) const {
  CallRecord record;
  record.method = method;
  record.entered = Clock::now();
  record.caller.peer = context->peer();
  record.deadline = Deadline(*context);
  return {parts_.observer, context, std::move(record)};
}

Visit FrontDoor::EnterRequest(const Visit& stream,
                              const grpc::ByteBuffer& message) const {
  CallRecord record;
  record.method = stream.record().method;
  record.caller = stream.record().caller;
  record.is_stream_request = true;
  record.entered = Clock::now();
  record.deadline = stream.record().deadline;
  Visit visit(parts_.observer, /*context=*/nullptr, std::move(record));
  visit.AddMessage(message.Length());
  return visit;
}

absl::StatusOr<Reservation> FrontDoor::Admit(RequestCodec& codec,
                                             grpc::ByteBuffer* message) const {
  const auto admit = [&]() -> absl::StatusOr<Reservation> {
    ATTENTION_ASSIGN_OR_RETURN(const std::size_t parsing_bytes,
                               codec.ParsingBytes(message));
    ATTENTION_ASSIGN_OR_RETURN(
        Reservation reservation,
        parts_.admission.Reserve(kCallBytes + parsing_bytes));
    ATTENTION_ASSIGN_OR_RETURN(const std::size_t parsed_bytes,
                               codec.Parse(message));
    // More than was reserved when long strings have room to grow.
    ATTENTION_RETURN_IF_ERROR(reservation.Resize(kCallBytes + parsed_bytes));
    return reservation;
  };
  absl::StatusOr<Reservation> reservation = CatchBadAlloc(admit);
  message->Clear();
  return reservation;
}

}  // namespace attention
