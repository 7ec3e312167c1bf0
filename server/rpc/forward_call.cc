// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_call.h"

#include <utility>

#include "core/tensor/buffer_pool.h"
#include "core/tensor/catch_bad_alloc.h"

namespace attention {

ForwardCall::ForwardCall(Visit visit, std::unique_ptr<RequestCodec> codec,
                         Done done)
    : visit_(std::move(visit)),
      exchange_(std::make_shared<Exchange>()),
      done_(std::move(done)) {
  exchange_->codec = std::move(codec);
}

void ForwardCall::SetReservation(AdmissionController::Reservation reservation) {
  exchange_->reservation = std::move(reservation);
}

absl::Status ForwardCall::ExtendReservation(std::size_t num_bytes,
                                            std::size_t scratch_bytes) {
  return exchange_->reservation.Extend(num_bytes, scratch_bytes);
}

void ForwardCall::SetDecoded(std::uint64_t module_version) {
  CallRecord& record = visit_.record();
  record.module_version = module_version;
  record.decode = ForwardTask::Clock::now() - record.entered;
}

AttentionOutputs ForwardCall::AllocateOutputs(const OutputShapes& shapes,
                                              DataType dtype) {
  return exchange_->codec->AllocateOutputs(shapes, dtype);
}

void ForwardCall::Complete(const absl::Status& status,
                           const ForwardTask::Times& times) {
  std::shared_ptr<Exchange> exchange = std::exchange(exchange_, nullptr);
  RequestCodec& codec = *exchange->codec;
  codec.FreeRequest();  // its memory, before the answer's copy on the wire
  CallRecord& record = visit_.record();
  record.times = times;
  grpc::ByteBuffer message;
  const absl::Status answered = CatchBadAlloc([&] {
    if (status.ok()) message = codec.Serialize(record, exchange);
    return status;
  });
  if (answered.ok()) {
    record.response_bytes = message.Length();
    // What was reserved for the request and for computing it is free.
    exchange->reservation.Shrink(kCallBytes +
                                 BufferPool::MostBytes(message.Length()));
  }
  const grpc::Status left = visit_.Leave(answered);
  if (!answered.ok()) message = codec.SerializeError(left);
  exchange.reset();  // a failed one's budget, before the client knows
  done_(left, &message);
}

}  // namespace attention
