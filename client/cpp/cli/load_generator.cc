// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/load_generator.h"

#include <sys/prctl.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "client/cpp/cli/arrival_schedule.h"

namespace attention {
namespace {

using TimePoint = LoadClock::TimePoint;

// One run. Lives until every request it sent is answered.
class LoadRun {
 public:
  LoadRun(const LoadPlan& plan, const SendRequest& send, LoadClock& clock,
          std::stop_token stop)
      : plan_(plan),
        send_(send),
        clock_(clock),
        stop_(std::move(stop)),
        start_(clock.Now()),
        window_begin_(start_ + plan.warmup),
        window_end_(window_begin_ + plan.duration),
        last_answer_(window_begin_) {}
  LoadRun(const LoadRun&) = delete;
  LoadRun& operator=(const LoadRun&) = delete;

  void RunClosedLoop() {
    in_flight_ = plan_.concurrency;
    for (std::size_t i = 0; i < plan_.concurrency; ++i) SendNext();
  }

  void RunOpenLoop(double rate) {
    ArrivalSchedule schedule(rate, plan_.seed);
    for (;;) {
      const TimePoint due = start_ + schedule.Next();
      if (due >= window_end_) return;
      clock_.SleepUntil(due, stop_);
      if (stop_.stop_requested()) return;
      SendDue(due);
    }
  }

  LoadReport Finish() {
    std::unique_lock lock(mutex_);
    all_answered_.wait(lock, [this] { return in_flight_ == 0; });
    const TimePoint end =
        stop_.stop_requested()
            ? std::clamp(clock_.Now(), window_begin_, window_end_)
            : window_end_;
    report_.was_stopped = end < window_end_;
    report_.elapsed = std::max(last_answer_, end) - window_begin_;
    return std::move(report_);
  }

 private:
  [[nodiscard]] bool InWindow(TimePoint due) const {
    return due >= window_begin_ && due < window_end_;
  }

  // Send a request of the closed loop, or end this slot when time is over.
  void SendNext() {
    const TimePoint now = clock_.Now();
    if (now >= window_end_ || stop_.stop_requested()) {
      EndOne();
      return;
    }
    send_([this, now](absl::StatusCode code, TimePoint answered) {
      Record(code, {now, now, answered});
      SendNext();
    });
  }

  void SendDue(TimePoint due) {
    const TimePoint sent = clock_.Now();
    {
      const std::scoped_lock lock(mutex_);
      const bool full = in_flight_ >= plan_.max_in_flight;
      if (InWindow(due)) {
        report_.lateness.Record(sent - due);
        if (full) ++report_.num_not_sent;
      }
      if (full) return;
      ++in_flight_;
    }
    send_([this, due, sent](absl::StatusCode code, TimePoint answered) {
      Record(code, {due, sent, answered});
      EndOne();
    });
  }

  struct Times {
    TimePoint due;
    TimePoint sent;
    TimePoint answered;
  };

  void Record(absl::StatusCode code, const Times& times) {
    if (!InWindow(times.due)) return;
    const std::scoped_lock lock(mutex_);
    if (code == absl::StatusCode::kCancelled && stop_.stop_requested()) {
      ++report_.num_unanswered;
      return;
    }
    ++report_.codes[code];
    last_answer_ = std::max(last_answer_, times.answered);
    if (code != absl::StatusCode::kOk) {
      report_.failed[code].Record(times.answered - times.sent);
      return;
    }
    report_.latency.Record(times.answered - times.due);
    report_.service.Record(times.answered - times.sent);
  }

  void EndOne() {
    // Notified under the lock: after it, the waiting thread destroys the run.
    const std::scoped_lock lock(mutex_);
    if (--in_flight_ == 0) all_answered_.notify_all();
  }

  const LoadPlan& plan_;
  const SendRequest& send_;
  LoadClock& clock_;
  const std::stop_token stop_;
  const TimePoint start_;
  const TimePoint window_begin_;
  const TimePoint window_end_;

  std::mutex mutex_;
  std::condition_variable all_answered_;
  TimePoint last_answer_;
  std::size_t in_flight_ = 0;
  LoadReport report_;
};

}  // namespace

TimePoint SteadyLoadClock::Now() { return std::chrono::steady_clock::now(); }

void SteadyLoadClock::SleepUntil(TimePoint time, const std::stop_token& stop) {
  // By default the kernel may wake a thread 50 microseconds late to save power.
  constexpr unsigned long kSlackNanoseconds = 1;
  prctl(PR_SET_TIMERSLACK, kSlackNanoseconds);
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait_until(lock, stop, time,
                                           [] { return false; });
}

std::uint64_t LoadReport::num_failed() const {
  std::uint64_t total = 0;
  for (const auto& [code, count] : codes) total += count;
  return total - num_ok();
}

LoadReport RunLoad(const LoadPlan& plan, const SendRequest& send,
                   LoadClock& clock, const std::stop_token& stop) {
  LoadRun run(plan, send, clock, stop);
  if (plan.rate) {
    run.RunOpenLoop(*plan.rate);
  } else {
    run.RunClosedLoop();
  }
  return run.Finish();
}

}  // namespace attention
