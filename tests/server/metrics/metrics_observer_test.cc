// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_observer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "core/serving/admission_controller.h"
#include "server/metrics/metrics_page.h"
#include "tests/server/metrics/scrape.h"

namespace attention::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr char kForward[] = "/attention.v1.AttentionService/Forward";
constexpr char kForwardStream[] =
    "/attention.v1.AttentionService/ForwardStream";

Scrape Read(const MetricsObserver& observer) {
  return Scrape(MetricsPage(observer, {}).Write());
}

// A request that was answered.
CallRecord Answered(const std::string& module) {
  CallRecord call;
  call.method = kForward;
  call.module = module;
  call.request_bytes = 1000;
  call.response_bytes = 500;
  call.decode = microseconds(30);
  call.times = {
      .queue = milliseconds(3), .compute = milliseconds(15), .batch_size = 2};
  call.total = milliseconds(60);
  return call;
}

// One that ended before it was computed.
CallRecord Refused(const std::string& module) {
  CallRecord call;
  call.method = kForward;
  call.module = module;
  call.total = microseconds(10);
  return call;
}

std::string Requests(const std::string& module, const std::string& code,
                     const std::string& method = "Forward") {
  return R"(attention_requests_total{method="attention.v1.AttentionService/)" +
         method + R"(",module=")" + module + R"(",code=")" + code + R"("})";
}

TEST(MetricsObserverTest, CountsRequestsByMethodModuleAndCode) {
  MetricsObserver observer;
  observer.OnModuleChanged("m", /*serving=*/true);

  for (int i = 0; i < 3; ++i) {
    observer.OnLeft(Answered("m"), absl::OkStatus());
  }
  CallRecord request = Answered("m");
  request.method = kForwardStream;
  request.is_stream_request = true;
  observer.OnLeft(request, absl::OkStatus());
  observer.OnLeft(Refused("m"), absl::InvalidArgumentError(""));
  observer.OnLeft(Refused(""), absl::InvalidArgumentError(""));

  const Scrape scrape = Read(observer);
  EXPECT_EQ(scrape[Requests("m", "OK")], 3);
  EXPECT_EQ(scrape[Requests("m", "OK", "ForwardStream")], 1);
  EXPECT_EQ(scrape[Requests("m", "INVALID_ARGUMENT")], 1);
  EXPECT_EQ(scrape[Requests("", "INVALID_ARGUMENT")], 1);
  EXPECT_EQ(scrape.CountWith("attention_requests_total"), 4U);
}

TEST(MetricsObserverTest, MeasuresPhases) {
  MetricsObserver observer;
  observer.OnModuleChanged("m", /*serving=*/true);

  observer.OnLeft(Answered("m"), absl::OkStatus());

  const Scrape scrape = Read(observer);
  const auto phase = [&](const std::string& name, const std::string& le) {
    return scrape
        ["attention_request_phase_duration_seconds_bucket{module=\"m\","
         "phase=\"" +
         name + "\",le=\"" + le + "\"}"];
  };
  EXPECT_EQ(phase("decode", "2e-05"), 0);
  EXPECT_EQ(phase("decode", "5e-05"), 1);
  EXPECT_EQ(phase("queue", "0.002"), 0);
  EXPECT_EQ(phase("queue", "0.005"), 1);
  EXPECT_EQ(phase("compute", "0.01"), 0);
  EXPECT_EQ(phase("compute", "0.02"), 1);
  EXPECT_EQ(phase("compute", "+Inf"), 1);
  EXPECT_DOUBLE_EQ(
      scrape[R"(attention_request_duration_seconds_sum{module="m"})"], 0.06);
}

TEST(MetricsObserverTest, LeavesOutPhasesThatWereNotReached) {
  MetricsObserver observer;
  observer.OnModuleChanged("m", /*serving=*/true);
  CallRecord expired = Refused("m");
  expired.decode = microseconds(30);
  expired.times.queue = milliseconds(3);

  observer.OnLeft(Refused("m"), absl::NotFoundError(""));
  observer.OnLeft(expired, absl::DeadlineExceededError(""));

  const Scrape scrape = Read(observer);
  const auto count = [&](const std::string& phase) {
    return scrape
        ["attention_request_phase_duration_seconds_count{module=\"m\","
         "phase=\"" +
         phase + "\"}"];
  };
  EXPECT_EQ(count("decode"), 1);
  EXPECT_EQ(count("queue"), 1);
  EXPECT_EQ(count("compute"), 0);
  EXPECT_EQ(scrape[R"(attention_request_duration_seconds_count{module="m"})"],
            0);
}

TEST(MetricsObserverTest, CountsBytesAndStreams) {
  MetricsObserver observer;
  CallRecord stream;
  stream.method = kForwardStream;
  stream.is_stream = true;

  observer.OnLeft(Answered("m"), absl::OkStatus());
  observer.OnLeft(Answered("m"), absl::OkStatus());
  observer.OnLeft(stream, absl::UnavailableError(""));

  const Scrape scrape = Read(observer);
  EXPECT_EQ(scrape["attention_request_bytes_total{method="
                   "\"attention.v1.AttentionService/Forward\"}"],
            2000);
  EXPECT_EQ(scrape["attention_response_bytes_total{method="
                   "\"attention.v1.AttentionService/Forward\"}"],
            1000);
  EXPECT_EQ(scrape["attention_streams_total{method="
                   "\"attention.v1.AttentionService/ForwardStream\",code="
                   "\"UNAVAILABLE\"}"],
            1);
  EXPECT_EQ(scrape.CountWith("ForwardStream"), 1U);
}

TEST(MetricsObserverTest, SaysWhyRequestsAreRefused) {
  MetricsObserver observer;
  CallRecord management = Refused("");
  management.method = "/attention.v1.ModuleService/GetModule";

  observer.OnLeft(Refused("m"), OverloadError("full"));
  observer.OnLeft(Refused("m"), absl::ResourceExhaustedError("too large"));
  observer.OnLeft(Refused("m"), absl::CancelledError(""));
  observer.OnLeft(Refused("m"), absl::DeadlineExceededError(""));
  observer.OnLeft(Refused("m"), absl::InvalidArgumentError(""));
  observer.OnLeft(Refused("m"), absl::NotFoundError(""));
  observer.OnLeft(Refused("m"), absl::UnavailableError(""));
  observer.OnLeft(Refused("m"), absl::InternalError(""));
  observer.OnLeft(Answered("m"), absl::CancelledError(""));
  observer.OnLeft(Refused("m"), absl::OkStatus());
  observer.OnLeft(management, absl::NotFoundError(""));

  const Scrape scrape = Read(observer);
  for (const std::string reason :
       {"overload", "too_large", "cancelled", "deadline", "invalid",
        "unknown_module", "unavailable", "other"}) {
    EXPECT_EQ(
        scrape["attention_refused_requests_total{reason=\"" + reason + "\"}"],
        1)
        << reason;
  }
}

TEST(MetricsObserverTest, FollowsTasksThroughTheQueue) {
  MetricsObserver observer;
  const ForwardTask::Times waited;
  const ForwardTask::Times computed = {.batch_size = 2};

  for (int i = 0; i < 4; ++i) observer.OnSubmitted();
  observer.OnBatchStarted(2, {.tokens = 100, .pairs = 5000});
  observer.OnStarted(computed);
  observer.OnStarted(computed);
  observer.OnCompleted(absl::OkStatus(), computed);
  observer.OnCompleted(absl::CancelledError(""), waited);

  const Scrape scrape = Read(observer);
  EXPECT_EQ(scrape["attention_queued_requests"], 1);
  EXPECT_EQ(scrape["attention_computing_requests"], 1);
  EXPECT_EQ(scrape["attention_batch_requests_count"], 1);
  EXPECT_EQ(scrape["attention_batch_requests_sum"], 2);
  EXPECT_EQ(scrape[R"(attention_batch_tokens_bucket{le="64"})"], 0);
  EXPECT_EQ(scrape[R"(attention_batch_tokens_bucket{le="128"})"], 1);
}

TEST(MetricsObserverTest, ForgetsAModuleThatIsUnloaded) {
  MetricsObserver observer;
  observer.OnModuleChanged("m", /*serving=*/true);
  observer.OnLeft(Answered("m"), absl::OkStatus());

  observer.OnModuleChanged("m", /*serving=*/false);
  observer.OnLeft(Answered("m"), absl::OkStatus());

  const Scrape gone = Read(observer);
  EXPECT_EQ(gone.CountWith(R"(module="m")"), 0U);
  EXPECT_EQ(gone[Requests("other", "OK")], 1);
  observer.OnModuleChanged("m", /*serving=*/true);
  EXPECT_EQ(Read(observer)[Requests("m", "OK")], 0);
}

TEST(MetricsObserverTest, JunkAddsNoSeries) {
  MetricsObserver observer;
  observer.OnLeft(Answered("unknown"), absl::NotFoundError(""));
  CallRecord call;
  call.method = kUnknownMethod;
  observer.OnLeft(call, absl::UnimplementedError(""));
  const std::size_t before = Read(observer).size();

  for (int i = 0; i < 10'000; ++i) {
    const std::string name = "junk" + std::to_string(i);
    observer.OnLeft(Answered(name), absl::NotFoundError(""));
    const std::string method = "/" + name + "/" + name;
    call.method = method;
    observer.OnLeft(call, absl::UnimplementedError(""));
  }

  const Scrape scrape = Read(observer);
  EXPECT_EQ(scrape.size(), before);
  EXPECT_EQ(scrape.CountWith("junk"), 0U);
  EXPECT_EQ(scrape[Requests("other", "NOT_FOUND")], 10'001);
}

TEST(MetricsObserverTest, NamesSoManyModulesAtMost) {
  MetricsObserver observer;
  for (std::size_t i = 0; i < 2 * MetricsObserver::kMaxModules; ++i) {
    const std::string name = "m" + std::to_string(i);
    observer.OnModuleChanged(name, /*serving=*/true);
    observer.OnLeft(Answered(name), absl::OkStatus());
  }

  const Scrape scrape = Read(observer);
  EXPECT_EQ(scrape.CountWith("attention_requests_total"),
            MetricsObserver::kMaxModules + 1);
  EXPECT_EQ(scrape[Requests("other", "OK")], MetricsObserver::kMaxModules);
}

TEST(MetricsObserverTest, AModuleCalledOtherIsOneOfThem) {
  MetricsObserver observer;
  observer.OnModuleChanged("other", /*serving=*/true);
  observer.OnLeft(Answered("other"), absl::OkStatus());
  observer.OnModuleChanged("other", /*serving=*/false);
  observer.OnLeft(Answered("other"), absl::OkStatus());

  EXPECT_EQ(Read(observer)[Requests("other", "OK")], 2);
}

}  // namespace
}  // namespace attention::testing
