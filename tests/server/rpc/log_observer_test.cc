// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/log_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/server/log_capture.h"

namespace attention::testing {
namespace {

using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

CallRecord Record() {
  CallRecord record;
  record.method = "/a.B/C";
  record.caller.peer = "ipv4:127.0.0.1:4711";
  record.module = "m";
  record.request_bytes = 1;
  record.response_bytes = 2;
  record.decode = nanoseconds(3);
  record.times = {.queue = nanoseconds(4), .compute = nanoseconds(5)};
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
                          "decode_ns=3 queue_ns=4 compute_ns=5 total_ns=13"));
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
                  "decode_ns=3 queue_ns=0 compute_ns=0 total_ns=13 "
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

}  // namespace
}  // namespace attention::testing
