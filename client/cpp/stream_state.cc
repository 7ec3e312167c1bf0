// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/stream_state.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <charconv>
#include <string_view>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "proto/wire/stream_slices.h"

namespace attention {
namespace {

// Calls in a row that may end before they bring an answer, and what they
// carried still be sent again: a call may end while its first request is on
// its way.
constexpr int kMaxFruitless = 1;

absl::Status CancelledError() {
  return absl::CancelledError("the stream was cancelled");
}

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

/// One call, which tells the state what gRPC tells it. Its members beside the
/// message that is being read are guarded by the state's lock.
class ForwardStream::State::Call final
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Call(std::shared_ptr<State> state) : state_(std::move(state)) {}

  // Writes come from outside of reactions, so the call is held until its reads
  // have ended, and with them the writes.
  void Start(grpc::GenericStub& stub) {
    stub.PrepareBidiStreamingCall(
        &context, AttentionClient::Connection::kForwardStreamMethod, {}, this);
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      state_->ReadsEnded();
      RemoveHold();
      return;
    }
    grpc::ByteBuffer message;
    message.Swap(&incoming_);
    StartRead(&incoming_);
    state_->Received(message);
  }
  void OnWriteDone(bool ok) override { state_->Written(ok); }
  void OnDone(const grpc::Status& status) override {
    const AttentionClient::Connection::Callback callback;
    const std::shared_ptr<State> state = state_;
    state->Ended(status);  // deletes this
  }

  grpc::ClientContext context;
  grpc::ByteBuffer outgoing;
  std::uint64_t next_id = 1;  // of what is still to be written
  bool writing = false;
  bool half_closed = false;
  bool reads_ended = false;

 private:
  const std::shared_ptr<State> state_;
  grpc::ByteBuffer incoming_;
};

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
  if (phase_ == Phase::kCancelled) return CancelledError();
  if (phase_ == Phase::kFinishing) {
    return absl::FailedPreconditionError(
        "the stream was finished, expected one that takes requests");
  }
  const std::uint64_t id = last_id_ + 1;
  Request added = {SerializeStreamRequest(id, request.bytes()), nullptr};
  if (added.message.Length() > limit_) return TooLong(added);
  Request& kept = unanswered_.emplace(id, std::move(added)).first->second;
  kept.done = std::move(done);
  last_id_ = id;
  if (call_ == nullptr) {
    Open();
  } else {
    Write();
  }
  return absl::OkStatus();
}

std::size_t ForwardStream::State::num_unanswered() const {
  const std::lock_guard lock(mutex_);
  return unanswered_.size();
}

void ForwardStream::State::Finish() {
  std::unique_lock lock(mutex_);
  if (phase_ == Phase::kOpen) phase_ = Phase::kFinishing;
  if (call_ != nullptr && phase_ == Phase::kFinishing) Write();
  changed_.wait(lock, [this] {
    return (call_ == nullptr || phase_ == Phase::kCancelled) &&
           num_telling_ == 0;
  });
}

void ForwardStream::State::Cancel() {
  Failures unanswered;
  {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::kCancelled;
    if (call_ != nullptr) call_->context.TryCancel();
    unanswered = TakeAll(CancelledError());
    changed_.notify_all();
  }
  TellAll(std::move(unanswered));
}

void ForwardStream::State::WaitUntilTold() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return num_telling_ == 0; });
}

void ForwardStream::State::Tell(Done done, absl::StatusOr<ForwardReply> reply) {
  done(std::move(reply));
  done = nullptr;  // what it holds may be its caller's
  const std::lock_guard lock(mutex_);
  if (--num_telling_ == 0) changed_.notify_all();
}

void ForwardStream::State::TellAll(Failures failures) {
  for (auto& [done, why] : failures) Tell(std::move(done), std::move(why));
}

void ForwardStream::State::Open() {
  call_ = std::make_unique<Call>(shared_from_this());
  if (options_.timeout) {
    call_->context.set_deadline(opened_ + *options_.timeout);
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
  const std::lock_guard lock(mutex_);
  if (!ok) return;  // the call is about to end
  call_->writing = false;
  Write();
}

void ForwardStream::State::ReadsEnded() {
  const std::lock_guard lock(mutex_);
  call_->reads_ended = true;
}

void ForwardStream::State::Received(const grpc::ByteBuffer& message) {
  absl::StatusOr<StreamAnswer> answer =
      CatchBadAlloc([&] { return ParseStreamAnswer(message); });
  Done done;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kCancelled) return;
    const absl::Status taken =
        answer.ok() ? TakeDone(answer->id, done) : answer.status();
    if (!taken.ok()) {
      fault_.Update(taken);
      call_->context.TryCancel();
      return;
    }
    num_fruitless_ = 0;
  }
  if (answer->error) {
    Tell(std::move(done), connection_->ToStatus(*answer->error));
  } else {
    Tell(std::move(done), ForwardReply(std::make_shared<grpc::ByteBuffer>(
                              std::move(answer->response))));
  }
}

absl::Status ForwardStream::State::TakeDone(std::uint64_t id, Done& done) {
  const auto found = unanswered_.find(id);
  if (found == unanswered_.end() || id >= call_->next_id) {
    return absl::InternalError(FormatText(
        "malformed answer from the server: its id is {}, expected that of an "
        "unanswered request",
        id));
  }
  done = std::move(found->second.done);
  unanswered_.erase(found);
  ++num_telling_;
  return absl::OkStatus();
}

void ForwardStream::State::Ended(const grpc::Status& status) {
  Failures failed;
  {
    const std::lock_guard lock(mutex_);
    failed = TakeFailed(status);
  }
  TellAll(std::move(failed));
  std::unique_ptr<Call> ended;  // deleted without the lock
  const std::lock_guard lock(mutex_);
  ended = std::move(call_);
  fault_ = absl::OkStatus();
  if (unanswered_.empty()) {
    changed_.notify_all();
  } else {
    Open();
  }
}

ForwardStream::State::Failures ForwardStream::State::TakeFailed(
    const grpc::Status& status) {
  if (unanswered_.empty()) return {};
  if (fault_.ok() && LearnLimit(status)) {
    Failures longer = TakeLongerThanLimit();
    if (!longer.empty()) return longer;
  }
  if (fault_.ok() && status.error_code() == grpc::StatusCode::UNAVAILABLE &&
      num_fruitless_ < kMaxFruitless) {
    ++num_fruitless_;
    return {};
  }
  num_fruitless_ = 0;
  return TakeAll(WhyEnded(status));
}

ForwardStream::State::Failures ForwardStream::State::TakeAll(
    const absl::Status& why) {
  Failures all;
  for (auto& [id, request] : unanswered_) {
    all.emplace_back(std::move(request.done), why);
  }
  unanswered_.clear();
  num_telling_ += all.size();
  return all;
}

ForwardStream::State::Failures ForwardStream::State::TakeLongerThanLimit() {
  Failures longer;
  for (auto request = unanswered_.begin(); request != unanswered_.end();) {
    if (request->second.message.Length() <= limit_) {
      ++request;
      continue;
    }
    longer.emplace_back(std::move(request->second.done),
                        TooLong(request->second));
    request = unanswered_.erase(request);
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

absl::Status ForwardStream::State::TooLong(const Request& request) const {
  return absl::ResourceExhaustedError(FormatText(
      "the request takes {} bytes, expected at most {}, the limit of the "
      "server's --max-message-bytes; send less at a time",
      request.message.Length(), limit_));
}

bool ForwardStream::State::LearnLimit(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  const auto limit = MessageLimit(status.error_message());
  // The client's own limit is of what it receives.
  if (!limit || *limit >= limit_ ||
      *limit == connection_->max_receive_bytes()) {
    return false;
  }
  limit_ = *limit;
  return true;
}

}  // namespace attention
