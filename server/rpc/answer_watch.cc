// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/answer_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace attention {

namespace {

using Seconds = std::chrono::duration<double>;

// How much longer it has waited than it may.
Seconds Lateness(const UnreadAnswers& call, std::chrono::milliseconds patience,
                 std::size_t bytes_per_second) {
  return call.waited - patience -
         Seconds(static_cast<double>(call.next_bytes) /
                 static_cast<double>(bytes_per_second));
}

}  // namespace

std::vector<std::size_t> ChooseToCancel(std::span<const UnreadAnswers> calls,
                                        const AnswerLimits& limits) {
  std::vector<std::size_t> chosen;
  std::vector<std::pair<Seconds, std::size_t>> late;
  std::size_t num_bytes = 0;  // of the others
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (Lateness(calls[i], limits.max_wait, kSlowBytesPerSecond) >
        Seconds::zero()) {
      chosen.push_back(i);
      continue;
    }
    num_bytes += calls[i].num_bytes;
    const Seconds lateness =
        Lateness(calls[i], limits.patience, kBusyBytesPerSecond);
    if (lateness > Seconds::zero()) late.emplace_back(lateness, i);
  }
  std::ranges::sort(late, std::greater<>());
  for (const auto& [lateness, i] : late) {
    if (num_bytes <= limits.max_unread_bytes) break;
    chosen.push_back(i);
    num_bytes -= calls[i].num_bytes;
  }
  return chosen;
}

AnswerWatch::Call::~Call() {
  const std::lock_guard lock(watch_.mutex_);
  if (num_bytes_ == 0) return;
  watch_.num_bytes_ -= num_bytes_;
  watch_.Unlink(*this);
}

void AnswerWatch::Call::Give(std::size_t num_bytes, Clock::time_point now) {
  if (num_bytes == 0) return;
  const std::lock_guard lock(watch_.mutex_);
  if (num_bytes_ == 0) {
    since_ = now;
    next_bytes_ = num_bytes;
    watch_.Link(*this);
  }
  num_bytes_ += num_bytes;
  watch_.num_bytes_ += num_bytes;
}

void AnswerWatch::Call::Take(std::size_t num_bytes, std::size_t next_bytes,
                             Clock::time_point now) {
  if (num_bytes == 0) return;
  const std::lock_guard lock(watch_.mutex_);
  since_ = now;
  next_bytes_ = next_bytes;
  num_bytes_ -= num_bytes;
  watch_.num_bytes_ -= num_bytes;
  if (num_bytes_ == 0) watch_.Unlink(*this);
}

void AnswerWatch::CancelUnread(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  std::vector<Call*> calls;
  std::vector<UnreadAnswers> answers;
  for (Call* call = first_; call != nullptr; call = call->next_) {
    if (call->is_cancelled_) continue;
    calls.push_back(call);
    answers.push_back({.num_bytes = call->num_bytes_,
                       .next_bytes = call->next_bytes_,
                       .waited = now - call->since_});
  }
  for (const std::size_t i : ChooseToCancel(answers, limits_)) {
    Cancel(*calls[i], now);
  }
}

std::size_t AnswerWatch::unread_bytes() const {
  const std::lock_guard lock(mutex_);
  return num_bytes_;
}

// With the lock held, so the context is there. What becomes of it is told on
// other threads, which wait for the lock.
void AnswerWatch::Cancel(Call& call, Clock::time_point now) {
  const std::string peer = call.context_->peer();  // unknown once cancelled
  call.is_cancelled_ = true;
  call.context_->TryCancel();
  const std::optional<std::uint64_t> num_withheld = line_limit_.Take(now);
  if (!num_withheld) return;
  spdlog::warn(
      "cancelled a call whose answers are not taken; peer={} "
      "unread_bytes={} not_logged={}",
      peer, call.num_bytes_, *num_withheld);
}

void AnswerWatch::Link(Call& call) {
  call.previous_ = nullptr;
  call.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &call;
  first_ = &call;
}

void AnswerWatch::Unlink(Call& call) {
  if (call.next_ != nullptr) call.next_->previous_ = call.previous_;
  (call.previous_ != nullptr ? call.previous_->next_ : first_) = call.next_;
}

}  // namespace attention
