// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/answer_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

namespace attention {

namespace {

using Seconds = std::chrono::duration<double>;

// How much longer it has waited than it may.
Seconds Lateness(const UnreadAnswers& call, std::chrono::milliseconds patience,
                 std::size_t bytes_per_second) {
  return call.waited - patience -
         Seconds(static_cast<double>(call.oldest_bytes) /
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
  if (num_bytes_ > 0) Take(num_bytes_);
}

AnswerWatch::Wait AnswerWatch::Call::Give(std::size_t num_bytes,
                                          Clock::time_point now) {
  const Wait wait{.since = now, .num_bytes = num_bytes_ + num_bytes};
  if (num_bytes == 0) return wait;
  const std::lock_guard lock(watch_.mutex_);
  if (num_bytes_ == 0) {
    oldest_ = wait;
    watch_.Link(*this);
  }
  num_bytes_ += num_bytes;
  watch_.num_bytes_ += num_bytes;
  return wait;
}

void AnswerWatch::Call::Take(std::size_t num_bytes, const Wait& next) {
  if (num_bytes == 0) return;
  const std::lock_guard lock(watch_.mutex_);
  oldest_ = next;
  num_bytes_ -= num_bytes;
  watch_.num_bytes_ -= num_bytes;
  if (num_bytes_ == 0) watch_.Unlink(*this);
}

void AnswerWatch::CancelUnread(Clock::time_point now) {
  std::string first_peer;
  std::size_t num_cancelled = 0;
  std::size_t cancelled_bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    std::vector<Call*> calls;
    std::vector<UnreadAnswers> answers;
    for (Call* call = first_; call != nullptr; call = call->next_) {
      if (call->is_cancelled_) continue;
      calls.push_back(call);
      answers.push_back({.num_bytes = call->num_bytes_,
                         .oldest_bytes = call->oldest_.num_bytes,
                         .waited = now - call->oldest_.since});
    }
    for (const std::size_t i : ChooseToCancel(answers, limits_)) {
      // Before it is cancelled: it is unknown then.
      if (num_cancelled == 0) first_peer = calls[i]->context_->peer();
      calls[i]->is_cancelled_ = true;
      // With the lock held, so the context is there. What becomes of it is told
      // on other threads, which wait for the lock.
      calls[i]->context_->TryCancel();
      ++num_cancelled;
      cancelled_bytes += answers[i].num_bytes;
    }
  }
  if (num_cancelled == 0) return;
  spdlog::warn(
      "cancelled {} calls with {} bytes of answers that were not taken; one "
      "was "
      "of peer={}",
      num_cancelled, cancelled_bytes, first_peer);
}

std::size_t AnswerWatch::unread_bytes() const {
  const std::lock_guard lock(mutex_);
  return num_bytes_;
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
