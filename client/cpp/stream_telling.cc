// SPDX-License-Identifier: Apache-2.0
// How a stream's requests are told their answers, and how that is waited for.
#include "client/cpp/stream_call.h"
#include "client/cpp/stream_state.h"

namespace attention {

/// Answers that a thread is giving, one after the other. One of them may cancel
/// or destroy the stream, whereupon the thread gives others within it.
class ForwardStream::State::Telling {
 public:
  Telling(State& state, std::span<Answer> answers)
      : state_(state), rest_(answers), outer_(innermost) {
    innermost = this;
  }
  ~Telling() { innermost = outer_; }
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;

  void Run() {
    while (!rest_.empty()) {
      Answer answer = std::move(rest_.front());
      rest_ = rest_.subspan(1);
      Request& request = answer.request.mapped();
      request.message.Clear();
      request.done(std::move(answer.reply));
      request.done = nullptr;  // what it holds may be its caller's
      state_.Told();
    }
  }

  // Give what this thread has still to give to requests of a stream.
  // \return the answers that it is within.
  static std::size_t RunOuter(const State& state) {
    std::size_t num_within = 0;
    for (Telling* each = innermost; each != nullptr; each = each->outer_) {
      if (&each->state_ != &state) continue;
      each->Run();
      ++num_within;
    }
    return num_within;
  }

  static bool IsWithin(const State& state) {
    const Telling* each = innermost;
    while (each != nullptr && &each->state_ != &state) each = each->outer_;
    return each != nullptr;
  }

 private:
  static thread_local Telling* innermost;

  State& state_;
  std::span<Answer> rest_;
  Telling* const outer_;
};

thread_local ForwardStream::State::Telling*
    ForwardStream::State::Telling::innermost = nullptr;

void ForwardStream::State::Tell(std::span<Answer> answers) noexcept {
  Telling(*this, answers).Run();
}

void ForwardStream::State::Told() {
  const std::lock_guard lock(mutex_);
  if (--num_telling_ <= num_within_) changed_.notify_all();
}

void ForwardStream::State::Finish() {
  std::unique_lock lock(mutex_);
  if (phase_ == Phase::kOpen) phase_ = Phase::kFinishing;
  if (call_ != nullptr && phase_ == Phase::kFinishing) Write();
  if (Telling::IsWithin(*this)) return;
  changed_.wait(lock,
                [this] { return unanswered_.empty() && num_telling_ == 0; });
}

void ForwardStream::State::Cancel() {
  Answers unanswered;
  {
    const std::lock_guard lock(mutex_);
    phase_ = Phase::kCancelled;
    if (call_ != nullptr) call_->context.TryCancel();
    unanswered = TakeAll(absl::CancelledError(kCancelledText));
  }
  Tell(unanswered);
}

void ForwardStream::State::Close() {
  std::unique_lock lock(mutex_);
  const bool has_only_to_end =
      phase_ == Phase::kFinishing && unanswered_.empty();
  lock.unlock();
  if (!has_only_to_end) Cancel();
  const std::size_t num_within = Telling::RunOuter(*this);
  lock.lock();
  num_within_ = num_within;
  changed_.wait(lock, [this] { return num_telling_ == num_within_; });
}

}  // namespace attention
