// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/stream_state.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "client/cpp/stream_call.h"
#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "proto/wire/stream_slices.h"

namespace attention {
namespace {

// Calls in a row that may end before they bring an answer, and what they
// carried still be sent again: a call may end while its first request is on
// its way.
constexpr int kMaxFruitless = 1;

// Beyond it, points in time would overflow.
constexpr std::chrono::milliseconds kLongestTimeout = std::chrono::years(100);

// The limit in gRPC's text about a message that was too long for it.
std::optional<std::size_t> MessageLimit(std::string_view text) {
  constexpr std::string_view kBefore = "larger than max (";
  const std::size_t begin = text.find(kBefore);
  if (begin == std::string_view::npos) return std::nullopt;
  text.remove_prefix(begin + kBefore.size());
  const std::size_t between = text.find(" vs");
  if (between == std::string_view::npos) return std::nullopt;
  const std::size_t digits = text.find_first_of("0123456789", between);
  if (digits == std::string_view::npos) return std::nullopt;
  std::size_t limit = 0;
  const auto parsed =
      std::from_chars(text.data() + digits, text.data() + text.size(), limit);
  if (parsed.ec != std::errc()) return std::nullopt;
  return limit;
}

}  // namespace

ForwardStream::State::State(
    std::shared_ptr<const AttentionClient::Connection> connection,
    const StreamOptions& options)
    : connection_(std::move(connection)),
      options_(options),
      opened_(std::chrono::system_clock::now()) {}

ForwardStream::State::~State() = default;

void ForwardStream::State::Submit(const PreparedForward& request, Done done) {
  absl::Status refused;
  {
    const std::lock_guard lock(mutex_);
    refused = Add(request, done);
  }
  if (!refused.ok()) done(std::move(refused));
}

absl::Status ForwardStream::State::Add(const PreparedForward& request,
                                       Done& done) {
  if (phase_ == Phase::kCancelled) return absl::CancelledError(kCancelledText);
  if (phase_ == Phase::kFinishing) {
    return absl::FailedPreconditionError(
        "the stream was finished, expected one that takes requests");
  }
  const std::uint64_t id = last_id_ + 1;
  grpc::ByteBuffer message = SerializeStreamRequest(id, request.bytes());
  if (message.Length() > limit_) return TooLong(message.Length());
  std::unique_ptr<Call> call;
  if (call_ == nullptr) call = std::make_unique<Call>(shared_from_this());
  Request& added = unanswered_[id];
  added.message.Swap(&message);
  added.done = std::move(done);
  last_id_ = id;
  if (call != nullptr) {
    Open(std::move(call));
  } else {
    Write();
  }
  return absl::OkStatus();
}

std::size_t ForwardStream::State::num_unanswered() const {
  const std::lock_guard lock(mutex_);
  return unanswered_.size();
}

void ForwardStream::State::Open(std::unique_ptr<Call> call) {
  call_ = std::move(call);
  if (options_.timeout) {
    call_->context.set_deadline(opened_ +
                                std::min(*options_.timeout, kLongestTimeout));
  }
  call_->Start(connection_->generic());
  Write();
}

void ForwardStream::State::Write() {
  Call& call = *call_;
  if (call.writing || call.half_closed || call.reads_ended) return;
  const auto next = unanswered_.lower_bound(call.next_id);
  if (next == unanswered_.end()) {
    if (phase_ != Phase::kFinishing) return;
    call.half_closed = true;
    call.StartWritesDone();
    return;
  }
  call.next_id = next->first + 1;
  call.writing = true;
  // Its answer may be here before it is written.
  call.outgoing = next->second.message;
  grpc::WriteOptions options;
  if (std::next(next) != unanswered_.end()) options.set_buffer_hint();
  call.StartWrite(&call.outgoing, options);
}

void ForwardStream::State::Written(bool ok) {
  grpc::ByteBuffer written;  // let go of without the lock
  const std::lock_guard lock(mutex_);
  written.Swap(&call_->outgoing);
  if (!ok) return;  // the call is about to end
  call_->writing = false;
  Write();
}

void ForwardStream::State::ReadsEnded() {
  const std::lock_guard lock(mutex_);
  call_->reads_ended = true;
}

void ForwardStream::State::Received(const grpc::ByteBuffer& message) {
  absl::StatusOr<StreamAnswer> received =
      CatchBadAlloc([&] { return ParseStreamAnswer(message); });
  Answer answer;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kCancelled) return;
    const absl::Status taken =
        received.ok() ? Take(received->id, answer) : received.status();
    if (!taken.ok()) {
      fault_.Update(taken);
      call_->context.TryCancel();
      return;
    }
    call_->answered = true;
  }
  if (received->error) {
    answer.reply = connection_->ToStatus(*received->error, options_.timeout);
  } else {
    answer.reply = ForwardReply(
        std::make_shared<grpc::ByteBuffer>(std::move(received->response)));
  }
  Tell({&answer, 1});
}

absl::Status ForwardStream::State::Take(std::uint64_t id, Answer& answer) {
  const auto found = unanswered_.find(id);
  if (found == unanswered_.end() || id >= call_->next_id) {
    return absl::InternalError(FormatText(
        "malformed answer from the server: its id is {}, expected that of an "
        "unanswered request",
        id));
  }
  answer.request = unanswered_.extract(found);
  ++num_telling_;
  return absl::OkStatus();
}

void ForwardStream::State::Ended(const grpc::Status& status) {
  Answers failed;
  {
    const std::lock_guard lock(mutex_);
    failed = TakeFailed(status);
  }
  Tell(failed);
  std::unique_ptr<Call> ended;  // deleted without the lock
  const std::lock_guard lock(mutex_);
  ended = std::move(call_);
  fault_ = absl::OkStatus();
  if (!unanswered_.empty()) {
    Open(std::make_unique<Call>(shared_from_this()));
  }
}

ForwardStream::State::Answers ForwardStream::State::TakeFailed(
    const grpc::Status& status) {
  const bool is_unavailable =
      status.error_code() == grpc::StatusCode::UNAVAILABLE;
  num_fruitless_ = is_unavailable && !call_->answered ? num_fruitless_ + 1 : 0;
  if (unanswered_.empty()) return {};
  if (fault_.ok()) {
    Answers longer = TakeLonger(status);
    if (!longer.empty()) return longer;
  }
  if (fault_.ok() && is_unavailable && num_fruitless_ <= kMaxFruitless) {
    return {};
  }
  num_fruitless_ = 0;
  return TakeAll(WhyEnded(status));
}

ForwardStream::State::Answers ForwardStream::State::TakeAll(
    const absl::Status& why) {
  Answers all;
  while (!unanswered_.empty()) {
    all.push_back({unanswered_.extract(unanswered_.begin()), why});
  }
  num_telling_ += all.size();
  return all;
}

ForwardStream::State::Answers ForwardStream::State::TakeLonger(
    const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return {};
  const auto limit = MessageLimit(status.error_message());
  if (!limit) return {};
  Answers longer;
  for (auto request = unanswered_.begin(); request != unanswered_.end();) {
    const auto here = request++;
    const std::size_t num_bytes = here->second.message.Length();
    if (num_bytes <= *limit) continue;
    limit_ = *limit;
    longer.push_back({unanswered_.extract(here), TooLong(num_bytes)});
  }
  num_telling_ += longer.size();
  return longer;
}

absl::Status ForwardStream::State::WhyEnded(const grpc::Status& status) const {
  if (!fault_.ok()) return fault_;
  if (!status.ok()) return connection_->ToStatus(status, options_.timeout);
  return absl::InternalError(FormatText(
      "the server ended the stream, expected answers to {} more requests",
      unanswered_.size()));
}

absl::Status ForwardStream::State::TooLong(std::size_t num_bytes) const {
  return absl::ResourceExhaustedError(FormatText(
      "the request takes {} bytes, expected at most {}, the limit of the "
      "server's --max-message-bytes; send less at a time",
      num_bytes, limit_));
}

}  // namespace attention
