// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/log_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/server/log_capture.h"

namespace attention::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

using Time = LogObserver::Time;

constexpr Time kStart = Time(seconds(1000));

CallRecord Record() {
  CallRecord record;
  record.method = "/a.B/C";
  record.caller.peer = "ipv4:127.0.0.1:4711";
  record.module = "m";
  record.request_bytes = 1;
  record.response_bytes = 2;
  record.decode = nanoseconds(3);
  record.times = {
      .queue = nanoseconds(4), .compute = nanoseconds(5), .batch_size = 6};
  record.total = nanoseconds(13);
  return record;
}

TEST(LogObserverTest, WritesWhatACallWas) {
  const LogCapture log;
  LogObserver observer;
  const CallRecord record = Record();

  observer.OnEntered(record);
  observer.OnLeft(record, absl::OkStatus());

  EXPECT_THAT(log.lines(),
              ElementsAre("debug call method=/a.B/C peer=ipv4:127.0.0.1:4711 "
                          "module=m code=OK request_bytes=1 response_bytes=2 "
                          "batch_size=6 decode_ns=3 queue_ns=4 compute_ns=5 "
                          "total_ns=13"));
}

TEST(LogObserverTest, WritesWhyARequestOfAStreamWasRefused) {
  const LogCapture log;
  LogObserver observer;
  CallRecord record = Record();
  record.is_stream_request = true;
  record.response_bytes = 0;
  record.times = {};

  observer.OnLeft(record, absl::NotFoundError("no module 'm' is served"));

  EXPECT_THAT(
      log.lines(),
      ElementsAre("debug request method=/a.B/C peer=ipv4:127.0.0.1:4711 "
                  "module=m code=NOT_FOUND request_bytes=1 response_bytes=0 "
                  "batch_size=0 decode_ns=3 queue_ns=0 compute_ns=0 "
                  "total_ns=13 "
                  "no module 'm' is served"));
}

TEST(LogObserverTest, WritesWhatWasComputed) {
  const LogCapture log;
  LogObserver observer;
  const ForwardTask::Times times = {
      .queue = nanoseconds(4), .compute = nanoseconds(5), .batch_size = 2};

  observer.OnSubmitted();
  observer.OnStarted(times);
  observer.OnCompleted(absl::CancelledError("gone"), times);

  EXPECT_THAT(
      log.lines(),
      ElementsAre("debug computed requests=2 code=CANCELLED compute_ns=5"));
}

TEST(LogObserverTest, WritesNothingOfATaskThatWasNotStarted) {
  const LogCapture log;
  LogObserver observer;

  observer.OnCompleted(absl::CancelledError("gone"), ForwardTask::Times());

  EXPECT_THAT(log.lines(), IsEmpty());
}

// A request that left at a time, after so long.
CallRecord LeftAt(Time time, milliseconds total) {
  CallRecord record = Record();
  record.entered = time - total;
  record.total = total;
  return record;
}

// The lines at info level and above.
std::vector<std::string> Shown(const LogCapture& log) {
  std::vector<std::string> lines = log.lines();
  std::erase_if(lines,
                [](const auto& line) { return line.starts_with("debug"); });
  return lines;
}

TEST(LogSlowTest, WritesWhatASlowRequestWas) {
  const LogCapture log;
  LogObserver observer(milliseconds(50));

  observer.OnLeft(LeftAt(kStart, milliseconds(49)), absl::OkStatus());
  observer.OnLeft(LeftAt(kStart, milliseconds(50)), absl::OkStatus());

  EXPECT_THAT(
      Shown(log),
      ElementsAre("info slow request not_logged=0 method=/a.B/C "
                  "peer=ipv4:127.0.0.1:4711 module=m code=OK request_bytes=1 "
                  "response_bytes=2 batch_size=6 decode_ns=3 queue_ns=4 "
                  "compute_ns=5 total_ns=50000000"));
}

TEST(LogSlowTest, WritesWhyARequestFailedHoweverFast) {
  const LogCapture log;
  LogObserver observer(milliseconds(50));

  observer.OnLeft(Record(), absl::NotFoundError("no module 'm' is served"));

  EXPECT_THAT(
      Shown(log),
      ElementsAre("info failed request not_logged=0 method=/a.B/C "
                  "peer=ipv4:127.0.0.1:4711 module=m code=NOT_FOUND "
                  "request_bytes=1 response_bytes=2 batch_size=6 decode_ns=3 "
                  "queue_ns=4 compute_ns=5 total_ns=13 no module 'm' is "
                  "served"));
}

TEST(LogSlowTest, WritesEveryRequestFromZeroOn) {
  const LogCapture log;
  LogObserver observer(milliseconds(0));

  observer.OnLeft(LeftAt(kStart, milliseconds(0)), absl::OkStatus());

  EXPECT_THAT(Shown(log), ElementsAre(StartsWith("info slow request ")));
}

TEST(LogSlowTest, WritesNothingUnlessAsked) {
  const LogCapture log;
  LogObserver observer;

  observer.OnLeft(LeftAt(kStart, seconds(3600)), absl::OkStatus());
  observer.OnLeft(Record(), absl::NotFoundError("no module 'm' is served"));

  EXPECT_THAT(Shown(log), IsEmpty());
}

TEST(LogSlowTest, LeavesStreamsToTheirRequests) {
  const LogCapture log;
  LogObserver observer(milliseconds(50));
  CallRecord stream = LeftAt(kStart, seconds(270));
  stream.is_stream = true;

  observer.OnLeft(stream, absl::UnavailableError("open as long as allowed"));
  observer.Flush();

  EXPECT_THAT(Shown(log), IsEmpty());
}

TEST(LogSlowTest, WritesTenLinesASecondAndCountsTheRest) {
  const LogCapture log;
  LogObserver observer(milliseconds(0));
  const auto leave = [&](int times, Time when) {
    for (int i = 0; i < times; ++i) {
      observer.OnLeft(LeftAt(when, milliseconds(1)), absl::OkStatus());
    }
  };

  leave(25, kStart);
  EXPECT_THAT(Shown(log), SizeIs(10));
  leave(5, kStart + milliseconds(999));
  EXPECT_THAT(Shown(log), SizeIs(10));
  leave(1, kStart + seconds(1));
  EXPECT_THAT(Shown(log), SizeIs(11));
  EXPECT_THAT(Shown(log).back(),
              StartsWith("info slow request not_logged=20 "));

  leave(1, kStart + seconds(3));
  EXPECT_THAT(Shown(log).back(), StartsWith("info slow request not_logged=0 "));
}

TEST(LogSlowTest, TellsOfTheRestWhenNoLineFollows) {
  const LogCapture log;
  LogObserver observer(milliseconds(0));
  for (int i = 0; i < 13; ++i) {
    observer.OnLeft(LeftAt(kStart, milliseconds(1)), absl::OkStatus());
  }

  observer.Tick(kStart + milliseconds(999));
  EXPECT_THAT(Shown(log), SizeIs(10));
  observer.Tick(kStart + seconds(1));
  observer.Tick(kStart + seconds(2));

  EXPECT_THAT(Shown(log), SizeIs(11));
  EXPECT_EQ(Shown(log).back(),
            "info 3 more slow or failed requests are not logged");
}

TEST(FailureTallyTest, IsWrittenOnceInTenSeconds) {
  const LogCapture log;
  LogObserver observer;
  const auto fail = [&](int times, Time when, const absl::Status& why) {
    for (int i = 0; i < times; ++i) {
      observer.OnLeft(LeftAt(when, milliseconds(1)), why);
    }
  };

  fail(3000, kStart, absl::NotFoundError("no module 'x' is served"));
  fail(100, kStart + seconds(9), absl::ResourceExhaustedError("overloaded"));
  observer.Tick(kStart + milliseconds(9999));
  EXPECT_THAT(Shown(log), IsEmpty());
  observer.Tick(kStart + seconds(10));

  const std::string line =
      "warning failed requests in the last 10 s: 3100 (NOT_FOUND x 3000, "
      "RESOURCE_EXHAUSTED x 100); the last: overloaded";
  EXPECT_THAT(Shown(log), ElementsAre(line));
  observer.Tick(kStart + seconds(20));
  EXPECT_THAT(Shown(log), ElementsAre(line));
}

TEST(FailureTallyTest, IsWrittenAtTheEnd) {
  const LogCapture log;
  LogObserver observer;
  observer.OnLeft(LeftAt(kStart, milliseconds(1)),
                  absl::NotFoundError("no module 'x' is served"));

  observer.Flush();

  EXPECT_THAT(Shown(log),
              ElementsAre("warning failed requests in the last 10 s: 1 "
                          "(NOT_FOUND x 1); the last: no module 'x' is "
                          "served"));
}

}  // namespace
}  // namespace attention::testing
