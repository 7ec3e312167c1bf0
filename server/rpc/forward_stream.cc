// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_stream.h"

#include <cstdint>
#include <deque>
#include <format>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "attention/v1/attention_service.pb.h"
#include "proto/wire/status_codec.h"
#include "server/rpc/message_bytes.h"
#include "server/rpc/rpc_context.h"

namespace attention {
namespace {

absl::Status DrainingError() {
  return absl::UnavailableError("the server is shutting down");
}

absl::Status TooOldError() {
  return absl::UnavailableError(
      "the stream has been open as long as a connection allows; open a new one "
      "and send again what is unanswered");
}

}  // namespace

/// One stream. Reads while its bounds allow, answers in order of completion.
///
/// gRPC calls the On… methods, the executor completes calls: all of them lock.
/// Finish is called once nothing is unanswered, so whoever completes a call
/// finds the reactor alive; it deletes itself when gRPC is done with it.
class ForwardStreamReactor final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ForwardStreamReactor(ForwardStreams* streams,
                       grpc::CallbackServerContext* context)
      : token_(streams->calls_),
        streams_(streams),
        handler_(streams->handler_),
        opened_(ForwardCall::Clock::now()),
        deadline_(Deadline(*context)) {}

  void Start() {
    const std::lock_guard lock(mutex_);
    ReadOrFinish();
  }

  [[nodiscard]] ForwardCall::Clock::time_point opened() const {
    return opened_;
  }

  // Read no more, and finish with `why` once what was read is answered.
  void End(const absl::Status& why) {
    const std::lock_guard lock(mutex_);
    ending_.Update(why);
    ReadOrFinish();
  }

 private:
  struct Answer {
    grpc::ByteBuffer message;
    std::size_t request_bytes = 0;
    std::optional<std::uint64_t> id;  ///< free again when it is sent
  };

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override {
    streams_->Close(this);
    delete this;
  }

  std::shared_ptr<ForwardCall> Accept(
      v1::ForwardStreamRequest* message,
      AdmissionController::Reservation reservation, std::size_t num_bytes,
      ForwardCall::Clock::time_point received);
  void AnswerError(std::uint64_t id, const absl::Status& status, Answer answer);
  void Send(Answer answer);
  void Write();
  void ReadOrFinish();

  const CallTracker::Token token_;
  ForwardStreams* const streams_;
  const ForwardHandler& handler_;
  const ForwardCall::Clock::time_point opened_;
  const ForwardCall::Clock::time_point deadline_;
  grpc::ByteBuffer incoming_;

  std::mutex mutex_;  // guards all below
  std::unordered_map<std::uint64_t, std::shared_ptr<ForwardCall>> in_flight_;
  std::deque<Answer> answers_;  // the first is being written, if writing_
  std::size_t num_unanswered_ = 0;
  std::size_t unanswered_bytes_ = 0;
  bool reading_ = false;
  bool writing_ = false;
  bool half_closed_ = false;
  bool cancelled_ = false;
  absl::Status ending_;  ///< why the server ends the stream, if it does
  bool finished_ = false;
};

void ForwardStreamReactor::OnReadDone(bool ok) {
  const auto received = ForwardCall::Clock::now();
  if (!ok) {
    const std::lock_guard lock(mutex_);
    reading_ = false;
    half_closed_ = true;
    return ReadOrFinish();
  }
  const std::size_t num_bytes = incoming_.Length();
  v1::ForwardStreamRequest message;
  absl::StatusOr<AdmissionController::Reservation> reservation =
      ParseForwardMessage(&incoming_, handler_.admission(), &message);

  std::shared_ptr<ForwardCall> call;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;  // while this was being parsed: it was never read
    ++num_unanswered_;
    unanswered_bytes_ += num_bytes;
    if (reservation.ok()) {
      call = Accept(&message, *std::move(reservation), num_bytes, received);
    } else {
      AnswerError(
          message.id(), reservation.status(),
          {.message = {}, .request_bytes = num_bytes, .id = std::nullopt});
    }
  }
  // Outside the lock, which completing takes. The request counts as unanswered,
  // so the stream cannot finish meanwhile.
  if (call != nullptr) handler_.Handle(call);
  // Only now: reads follow one another, so one thread at a time is here.
  const std::lock_guard lock(mutex_);
  reading_ = false;
  ReadOrFinish();
}

std::shared_ptr<ForwardCall> ForwardStreamReactor::Accept(
    v1::ForwardStreamRequest* message,
    AdmissionController::Reservation reservation, std::size_t num_bytes,
    ForwardCall::Clock::time_point received) {
  const std::uint64_t id = message->id();
  if (in_flight_.contains(id)) {
    AnswerError(
        id,
        absl::InvalidArgumentError(std::format(
            "id {} is that of an unanswered request, expected an id "
            "that is free",
            id)),
        {.message = {}, .request_bytes = num_bytes, .id = std::nullopt});
    return nullptr;
  }
  std::unique_ptr<v1::ForwardRequest> request(message->release_request());
  if (request == nullptr) request = std::make_unique<v1::ForwardRequest>();
  auto call = std::make_shared<ForwardCall>(
      std::move(request), received, deadline_,
      [this, id, num_bytes](
          const absl::Status& status,
          const std::shared_ptr<const ForwardAnswer>& forward_answer) {
        Answer answer{.message = {}, .request_bytes = num_bytes, .id = id};
        if (status.ok()) {
          answer.message = SerializeStreamAnswer(id, forward_answer);
        }
        const std::lock_guard lock(mutex_);
        if (status.ok()) return Send(std::move(answer));
        AnswerError(id, status, std::move(answer));
      });
  call->SetReservation(std::move(reservation));
  if (cancelled_) call->Cancel();
  in_flight_.emplace(id, call);
  return call;
}

void ForwardStreamReactor::AnswerError(std::uint64_t id,
                                       const absl::Status& status,
                                       Answer answer) {
  const grpc::Status text = ToGrpcStatus(status);
  v1::ForwardStreamResponse message;
  message.set_id(id);
  message.mutable_error()->set_code(text.error_code());
  message.mutable_error()->set_message(text.error_message());
  answer.message = SerializeMessage(message);
  Send(std::move(answer));
}

void ForwardStreamReactor::Send(Answer answer) {
  answers_.push_back(std::move(answer));
  if (!writing_) Write();
}

void ForwardStreamReactor::Write() {
  // The client may reuse the id as soon as it has the answer, which can be
  // before OnWriteDone.
  Answer& answer = answers_.front();
  if (answer.id) in_flight_.erase(*answer.id);
  writing_ = true;
  StartWrite(&answer.message);
}

void ForwardStreamReactor::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  if (!ok) cancelled_ = true;
  num_unanswered_ -= 1;
  unanswered_bytes_ -= answers_.front().request_bytes;
  answers_.pop_front();
  writing_ = false;
  if (!answers_.empty()) Write();
  ReadOrFinish();
}

void ForwardStreamReactor::OnCancel() {
  std::vector<std::shared_ptr<ForwardCall>> calls;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (const auto& [id, call] : in_flight_) calls.push_back(call);
    ReadOrFinish();
  }
  // Outside the lock, which completing takes. gRPC keeps the stream until this
  // has returned.
  for (const std::shared_ptr<ForwardCall>& call : calls) {
    handler_.Cancel(*call);
  }
}

void ForwardStreamReactor::ReadOrFinish() {
  const bool closing = half_closed_ || cancelled_ || !ending_.ok();
  if (finished_ || (reading_ && !closing)) return;
  if (!closing) {
    if (num_unanswered_ < ForwardStreams::kMaxUnanswered &&
        unanswered_bytes_ < ForwardStreams::kMaxUnansweredBytes) {
      reading_ = true;
      StartRead(&incoming_);
    }
    return;
  }
  if (num_unanswered_ > 0) return;
  finished_ = true;
  if (cancelled_) {
    Finish(ToGrpcStatus(absl::CancelledError("the stream was cancelled")));
  } else if (half_closed_) {
    Finish(grpc::Status::OK);
  } else {
    Finish(ToGrpcStatus(ending_));
  }
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
ForwardStreams::Open(grpc::CallbackServerContext* context) {
  auto* stream = new ForwardStreamReactor(this, context);
  bool draining = false;
  {
    const std::lock_guard lock(mutex_);
    open_.insert(stream);
    draining = draining_;
  }
  if (draining) {
    stream->End(DrainingError());
  } else {
    stream->Start();
  }
  return stream;
}

void ForwardStreams::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  for (ForwardStreamReactor* stream : open_) stream->End(DrainingError());
}

void ForwardStreams::EndOlderThan(std::chrono::milliseconds age) {
  const auto latest = ForwardCall::Clock::now() - age;
  const std::lock_guard lock(mutex_);
  for (ForwardStreamReactor* stream : open_) {
    if (stream->opened() <= latest) stream->End(TooOldError());
  }
}

void ForwardStreams::Close(ForwardStreamReactor* stream) {
  const std::lock_guard lock(mutex_);
  open_.erase(stream);
}

}  // namespace attention
