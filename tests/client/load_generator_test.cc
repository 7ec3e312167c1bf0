// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/load_generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <stop_token>
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
  void SleepUntil(TimePoint time, const std::stop_token& stop) override {
    if (!stop.stop_requested()) now_ = std::max(now_, time);
  }
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
    void SleepUntil(TimePoint time, const std::stop_token& stop) override {
      FakeClock::SleepUntil(time, stop);
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

// Answers requests within the call, every 10 ms, and stops the run within the
// call of one of them.
class StoppingServer {
 public:
  StoppingServer(FakeClock& clock, int stops_at)
      : clock_(clock), stops_at_(stops_at) {}

  [[nodiscard]] std::stop_token token() const { return stop_.get_token(); }
  [[nodiscard]] SendRequest sender(absl::StatusCode code_when_stopped) {
    return [this, code_when_stopped](const auto& done) {
      clock_.Advance(milliseconds(10));
      const bool stops = ++num_sent == stops_at_;
      if (stops) stop_.request_stop();
      done(stops ? code_when_stopped : absl::StatusCode::kOk, clock_.Now());
    };
  }

  int num_sent = 0;

 private:
  FakeClock& clock_;
  const int stops_at_;
  std::stop_source stop_;
};

TEST(LoadGeneratorTest, StoppedClosedLoopReportsWhatItMeasured) {
  FakeClock clock;
  StoppingServer server(clock, /*stops_at=*/7);

  const LoadReport report = RunLoad(
      {.warmup = milliseconds(20), .duration = std::chrono::hours(1)},
      server.sender(absl::StatusCode::kCancelled), clock, server.token());

  EXPECT_EQ(server.num_sent, 7);
  EXPECT_TRUE(report.was_stopped);
  EXPECT_EQ(report.num_ok(), 4U);
  EXPECT_EQ(report.num_failed(), 0U);
  EXPECT_EQ(report.num_unanswered, 1U);
  EXPECT_EQ(report.elapsed, milliseconds(50));
}

TEST(LoadGeneratorTest, StoppedOpenLoopReportsWhatItMeasured) {
  FakeClock clock;
  StoppingServer server(clock, /*stops_at=*/3);

  const LoadReport report =
      RunLoad({.rate = 1.0, .duration = std::chrono::hours(1)},
              server.sender(absl::StatusCode::kOk), clock, server.token());

  EXPECT_EQ(server.num_sent, 3);
  EXPECT_TRUE(report.was_stopped);
  EXPECT_EQ(report.num_ok(), 3U);
  EXPECT_EQ(report.num_unanswered, 0U);
  EXPECT_EQ(report.elapsed, clock.Now().time_since_epoch());
}

TEST(LoadGeneratorTest, StoppedDuringTheWarmupHasMeasuredNothing) {
  FakeClock clock;
  StoppingServer server(clock, /*stops_at=*/2);

  const LoadReport report = RunLoad(
      {.warmup = std::chrono::hours(1), .duration = milliseconds(50)},
      server.sender(absl::StatusCode::kCancelled), clock, server.token());

  EXPECT_TRUE(report.was_stopped);
  EXPECT_TRUE(report.codes.empty());
  EXPECT_EQ(report.num_unanswered, 0U);
  EXPECT_EQ(report.elapsed, nanoseconds(0));
}

TEST(LoadGeneratorTest, StoppedBeforeTheRunSendsNothing) {
  FakeClock clock;
  StoppingServer server(clock, /*stops_at=*/1);
  std::stop_source stop;
  stop.request_stop();

  for (const std::optional<double> rate :
       {std::optional<double>(), std::optional(10.0)}) {
    const LoadReport report =
        RunLoad({.rate = rate, .duration = milliseconds(500)},
                server.sender(absl::StatusCode::kOk), clock, stop.get_token());

    EXPECT_TRUE(report.was_stopped);
    EXPECT_EQ(server.num_sent, 0);
  }
}

TEST(LoadGeneratorTest, CancelledRequestsOfARunThatGoesOnAreFailures) {
  FakeClock clock;

  const LoadReport report = RunLoad(
      {.duration = milliseconds(50)},
      AnswerAfter(clock, milliseconds(10), absl::StatusCode::kCancelled),
      clock);

  EXPECT_FALSE(report.was_stopped);
  EXPECT_EQ(report.num_failed(), 5U);
  EXPECT_EQ(report.num_unanswered, 0U);
}

TEST(LoadGeneratorTest, SteadyClockWakesWhenStopped) {
  std::stop_source stop;
  stop.request_stop();
  SteadyLoadClock clock;
  const LoadClock::TimePoint late = clock.Now() + std::chrono::hours(1);

  clock.SleepUntil(late, stop.get_token());

  EXPECT_LT(clock.Now(), late);
}

}  // namespace
}  // namespace attention
