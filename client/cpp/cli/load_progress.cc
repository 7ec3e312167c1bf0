// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/load_progress.h"

#include <algorithm>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

using Seconds = std::chrono::duration<double>;

}  // namespace

LoadProgress::LoadProgress(const LoadPlan& plan, LoadClock::TimePoint start)
    : start_(start), warmup_(plan.warmup), duration_(plan.duration) {}

void LoadProgress::Count(absl::StatusCode code, LoadClock::TimePoint answered) {
  std::atomic<std::uint64_t>& counter =
      answered < start_ + warmup_     ? num_warmup_
      : code == absl::StatusCode::kOk ? num_ok_
                                      : num_failed_;
  counter.fetch_add(1, std::memory_order_relaxed);
}

std::string LoadProgress::Line(LoadClock::TimePoint now) const {
  const Seconds elapsed = now - start_ - warmup_;
  if (elapsed.count() < 0) {
    return FormatText("warming up {:.1f} of {:g} s: {} answered",
                      Seconds(now - start_).count(), Seconds(warmup_).count(),
                      num_warmup_.load());
  }
  const std::uint64_t num_ok = num_ok_;
  // Nothing is sent after the end, but answers still arrive.
  const double measured = std::min(elapsed.count(), Seconds(duration_).count());
  const double rate =
      elapsed.count() > 0 ? static_cast<double>(num_ok) / elapsed.count() : 0.0;
  return FormatText(
      "measuring {:.1f} of {:g} s: {} answered, {:.1f}/s, {} failed", measured,
      Seconds(duration_).count(), num_ok, rate, num_failed_.load());
}

}  // namespace attention
