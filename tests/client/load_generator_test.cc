// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/load_generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "client/cpp/cli/arrival_schedule.h"

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Time that passes only when someone sleeps or works. For one thread.
class FakeClock : public LoadClock {
 public:
  TimePoint Now() override { return now_; }
  void SleepUntil(TimePoint time) override { now_ = std::max(now_, time); }
  void Advance(nanoseconds time) { now_ += time; }

 private:
  TimePoint now_{};
};

// A server that answers each request within the call, taking `service_time`.
SendRequest AnswerAfter(FakeClock& clock, nanoseconds service_time,
                        absl::StatusCode code = absl::StatusCode::kOk) {
  return [&clock, service_time, code](const auto& done) {
    clock.Advance(service_time);
    done(code, clock.Now());
  };
}

TEST(LoadGeneratorTest, ClosedLoopSendsNextRequestAtEachAnswer) {
  FakeClock clock;

  const LoadReport report =
      RunLoad({.concurrency = 1, .duration = milliseconds(100)},
              AnswerAfter(clock, milliseconds(10)), clock);

  EXPECT_EQ(report.num_ok(), 10U);
  EXPECT_EQ(report.num_failed(), 0U);
  EXPECT_EQ(report.latency.Percentile(1), milliseconds(10));
  EXPECT_EQ(report.latency.max(), milliseconds(10));
  EXPECT_EQ(report.elapsed, milliseconds(100));
}

TEST(LoadGeneratorTest, WarmupIsNotReported) {
  FakeClock clock;

  const LoadReport report =
      RunLoad({.concurrency = 1,
               .warmup = milliseconds(50),
               .duration = milliseconds(100)},
              AnswerAfter(clock, milliseconds(10)), clock);

  EXPECT_EQ(report.num_ok(), 10U);
  EXPECT_EQ(report.elapsed, milliseconds(100));
}

TEST(LoadGeneratorTest, ElapsedTimeReachesToTheLastAnswer) {
  FakeClock clock;

  const LoadReport report =
      RunLoad({.concurrency = 1, .duration = milliseconds(25)},
              AnswerAfter(clock, milliseconds(10)), clock);

  EXPECT_EQ(report.num_ok(), 3U);
  EXPECT_EQ(report.elapsed, milliseconds(30));
}

TEST(LoadGeneratorTest, CountsStatusCodesAndKeepsLatenciesOfAnswersOnly) {
  FakeClock clock;

  const LoadReport report = RunLoad(
      {.concurrency = 1, .duration = milliseconds(50)},
      AnswerAfter(clock, milliseconds(10), absl::StatusCode::kUnavailable),
      clock);

  EXPECT_EQ(report.codes.at(absl::StatusCode::kUnavailable), 5U);
  EXPECT_EQ(report.num_failed(), 5U);
  EXPECT_EQ(report.latency.count(), 0U);
}

TEST(LoadGeneratorTest, ClosedLoopKeepsSoManyRequestsInFlight) {
  FakeClock clock;
  std::vector<std::function<void(absl::StatusCode, LoadClock::TimePoint)>>
      waiting;
  std::size_t num_at_once = 0;
  // Answers all as soon as the third is there, and later ones at once.
  const SendRequest send = [&](auto done) {
    waiting.push_back(std::move(done));
    if (waiting.size() < 3) return;
    num_at_once = std::max(num_at_once, waiting.size());
    clock.Advance(milliseconds(10));
    const auto answered = std::exchange(waiting, {});
    for (const auto& answer : answered) {
      answer(absl::StatusCode::kOk, clock.Now());
    }
  };

  const LoadReport report =
      RunLoad({.concurrency = 3, .duration = milliseconds(10)}, send, clock);

  EXPECT_EQ(num_at_once, 3U);
  EXPECT_EQ(report.num_ok(), 3U);
}

TEST(LoadGeneratorTest, OpenLoopSendsAtTheScheduledTimes) {
  FakeClock clock;
  std::vector<LoadClock::TimePoint> sent;
  const SendRequest send = [&](const auto& done) {
    sent.push_back(clock.Now());
    done(absl::StatusCode::kOk, clock.Now());
  };

  const LoadReport report =
      RunLoad({.rate = 100.0, .seed = 5, .duration = std::chrono::seconds(1)},
              send, clock);

  ArrivalSchedule schedule(/*rate=*/100.0, /*seed=*/5);
  ASSERT_GT(sent.size(), 50U);
  for (const LoadClock::TimePoint time : sent) {
    EXPECT_EQ(time.time_since_epoch(), schedule.Next());
  }
  EXPECT_GE(schedule.Next(), std::chrono::seconds(1));
  EXPECT_EQ(report.lateness.max(), nanoseconds(0));
}

TEST(LoadGeneratorTest, OpenLoopLatencyCountsFromTheIntendedTime) {
  // A sender that blocks for the service time makes the generator late, which
  // a tester that counts from the actual send would hide.
  FakeClock clock;

  const LoadReport report =
      RunLoad({.rate = 1000.0,
               .max_in_flight = 1,
               .seed = 5,
               .duration = milliseconds(100)},
              AnswerAfter(clock, milliseconds(10)), clock);

  EXPECT_EQ(report.service.max(), milliseconds(10));
  EXPECT_GT(report.latency.Percentile(500), milliseconds(200));
  EXPECT_EQ(report.latency.max(), report.lateness.max() + milliseconds(10));
}

TEST(LoadGeneratorTest, OpenLoopCountsWhatItDidNotSend) {
  // Answers the first request at 500 ms, later ones at once.
  class AnsweringClock final : public FakeClock {
   public:
    void SleepUntil(TimePoint time) override {
      FakeClock::SleepUntil(time);
      if (held && time >= TimePoint(milliseconds(500))) {
        std::exchange(held, nullptr)(absl::StatusCode::kOk, time);
      }
    }
    std::function<void(absl::StatusCode, TimePoint)> held;
  };
  AnsweringClock clock;
  std::uint64_t num_sent = 0;
  const SendRequest send = [&](auto done) {
    if (num_sent++ == 0) {
      clock.held = std::move(done);
    } else {
      done(absl::StatusCode::kOk, clock.Now());
    }
  };

  const LoadReport report = RunLoad({.rate = 100.0,
                                     .max_in_flight = 1,
                                     .seed = 5,
                                     .duration = std::chrono::seconds(1)},
                                    send, clock);

  EXPECT_GT(report.num_not_sent, 20U);
  EXPECT_EQ(report.num_ok(), num_sent);
  EXPECT_EQ(report.num_not_sent + num_sent, report.lateness.count());
}

}  // namespace
}  // namespace attention
