// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_stream.h"

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "server/rpc/answer_watch.h"
#include "server/rpc/attention_codec.h"

namespace attention {
namespace {

absl::Status DrainingError() {
  return absl::UnavailableError("the server is shutting down");
}

absl::Status CancelledError() {
  return absl::CancelledError("the stream was cancelled");
}

absl::Status DuplicateIdError(std::uint64_t id) {
  return absl::InvalidArgumentError(FormatText(
      "id {} is that of an unanswered request, expected an id that is free",
      id));
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
      : streams_(streams),
        handler_(streams->handler_),
        token_(handler_.door().calls()),
        visit_(handler_.door().Enter(
            "/attention.v1.AttentionService/ForwardStream", context)),
        unread_(handler_.door().answers(), context) {
    visit_.record().is_stream = true;
  }

  void Start() {
    const std::lock_guard lock(mutex_);
    ReadOrFinish();
  }

  [[nodiscard]] CallRecord::Clock::time_point opened() const {
    return visit_.record().entered;
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
    std::size_t num_bytes = 0;  ///< of it
    AnswerWatch::Wait wait;
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

  void Take();
  std::shared_ptr<ForwardCall> Accept(
      Visit visit, std::unique_ptr<AttentionStreamCodec> codec,
      absl::StatusOr<AdmissionController::Reservation>* admitted);
  void Write();
  void ReadOrFinish();

  ForwardStreams* const streams_;
  const ForwardHandler& handler_;
  const CallTracker::Token token_;
  grpc::ByteBuffer incoming_;

  std::mutex mutex_;  // guards all below, of visit_ its leaving
  Visit visit_;
  AnswerWatch::Call unread_;
  std::unordered_map<std::uint64_t, std::shared_ptr<ForwardCall>> in_flight_;
  std::list<Answer> answers_;  // the first is being written, if writing_
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
  // A request there is no memory to take cannot be answered either, which ends
  // the stream.
  const absl::Status taken = CatchBadAlloc([&] {
    if (ok) Take();
    return absl::OkStatus();
  });
  // Only now: reads follow one another, so one thread at a time is above.
  const std::lock_guard lock(mutex_);
  reading_ = false;
  if (!ok) half_closed_ = true;
  ending_.Update(taken);
  ReadOrFinish();
}

void ForwardStreamReactor::Take() {
  FrontDoor& door = handler_.door();
  Visit visit = door.EnterRequest(visit_, incoming_);
  auto codec = std::make_unique<AttentionStreamCodec>(handler_.buffers());
  auto admitted = door.Admit(*codec, &incoming_);

  std::shared_ptr<ForwardCall> call;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) {  // while this was being parsed: nobody awaits an answer
      visit.Leave(ending_.ok() ? CancelledError() : ending_);
      return;
    }
    call = Accept(std::move(visit), std::move(codec), &admitted);
  }
  // Outside the lock, which completing takes. The request counts as unanswered,
  // so the stream cannot finish meanwhile.
  handler_.Handle(call, std::move(admitted));
}

std::shared_ptr<ForwardCall> ForwardStreamReactor::Accept(
    Visit visit, std::unique_ptr<AttentionStreamCodec> codec,
    absl::StatusOr<AdmissionController::Reservation>* admitted) {
  const std::size_t num_bytes = visit.record().request_bytes;
  std::optional<std::uint64_t> id = codec->id();
  if (admitted->ok() && in_flight_.contains(*id)) {
    *admitted = DuplicateIdError(*id);
  }
  if (!admitted->ok()) id.reset();  // it is not in flight
  // Its answer's place is made here, where memory may run out.
  auto answer = std::make_shared<std::list<Answer>>(1);
  answer->front().request_bytes = num_bytes;
  answer->front().id = id;
  auto call = std::make_shared<ForwardCall>(
      std::move(visit), std::move(codec),
      [this, answer](const grpc::Status&, grpc::ByteBuffer* message) {
        const std::lock_guard lock(mutex_);
        answer->front().message.Swap(message);
        answer->front().num_bytes = answer->front().message.Length();
        answer->front().wait =
            unread_.Give(answer->front().num_bytes, AnswerWatch::Clock::now());
        answers_.splice(answers_.end(), *answer);
        if (!writing_) Write();
      });
  if (cancelled_) call->Cancel();
  if (id) in_flight_.emplace(*id, call);
  ++num_unanswered_;
  unanswered_bytes_ += num_bytes;
  return call;
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
  const std::size_t num_taken = answers_.front().num_bytes;
  answers_.pop_front();
  unread_.Take(num_taken,
               answers_.empty() ? AnswerWatch::Wait() : answers_.front().wait);
  writing_ = false;
  if (!answers_.empty()) Write();
  ReadOrFinish();
}

void ForwardStreamReactor::OnCancel() {
  decltype(in_flight_) calls;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    calls.swap(in_flight_);  // what is read now is cancelled anyway
    ReadOrFinish();
  }
  // Outside the lock, which completing takes. gRPC keeps the stream until this
  // has returned.
  for (const auto& [id, call] : calls) handler_.Cancel(*call);
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
  absl::Status status = half_closed_ ? absl::OkStatus() : ending_;
  if (cancelled_) status = CancelledError();
  Finish(visit_.Leave(status));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>*
ForwardStreams::Open(grpc::CallbackServerContext* context) {
  auto* stream = new ForwardStreamReactor(this, context);
  const absl::Status opened = CatchBadAlloc([&]() -> absl::Status {
    const std::lock_guard lock(mutex_);
    open_.insert(stream);
    return draining_ ? DrainingError() : absl::OkStatus();
  });
  if (opened.ok()) {
    stream->Start();
  } else {
    stream->End(opened);
  }
  return stream;
}

void ForwardStreams::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  for (ForwardStreamReactor* stream : open_) stream->End(DrainingError());
}

void ForwardStreams::EndOlderThan(std::chrono::milliseconds age) {
  const auto latest = CallRecord::Clock::now() - age;
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
