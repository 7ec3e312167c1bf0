// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace attention {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

BenchReport MakeReport() {
  BenchReport report;
  report.target = "127.0.0.1:1";
  report.module = "block";
  report.query = "float32 (1, 4, 8)";
  report.request_bytes = 150;
  report.tokens_per_request = 4;
  report.plan.duration = std::chrono::seconds(2);
  report.load.elapsed = std::chrono::seconds(2);
  for (int i = 1; i <= 10; ++i) {
    report.load.latency.Record(milliseconds(i));
    report.load.service.Record(milliseconds(i));
  }
  report.load.codes = {{absl::StatusCode::kOk, 10},
                       {absl::StatusCode::kUnavailable, 2}};
  report.num_verified = 3;
  return report;
}

TEST(BenchReportTest, ThroughputCountsAnsweredRequestsAndTheirRows) {
  EXPECT_DOUBLE_EQ(MakeReport().requests_per_second(), 5.0);
  EXPECT_DOUBLE_EQ(MakeReport().tokens_per_second(), 20.0);
}

TEST(BenchReportTest, TextShowsLatenciesAndCodes) {
  const std::string text = BenchReportToText(MakeReport());

  EXPECT_THAT(text, HasSubstr("closed loop, 1 in flight"));
  EXPECT_THAT(text, HasSubstr("latency        5.000      9.000     10.000"));
  EXPECT_THAT(text, HasSubstr("OK 10, UNAVAILABLE 2"));
  EXPECT_THAT(text, HasSubstr("3 answers, 0 differ"));
  EXPECT_THAT(text, Not(HasSubstr("lateness")));
}

TEST(BenchReportTest, TextOfOpenLoopShowsLatenessAndWhatWasNotSent) {
  BenchReport report = MakeReport();
  report.plan.rate = 50.0;
  report.load.num_not_sent = 7;

  const std::string text = BenchReportToText(report);

  EXPECT_THAT(text, HasSubstr("open loop, Poisson arrivals, 50 requests/s"));
  EXPECT_THAT(text, HasSubstr("lateness"));
  EXPECT_THAT(text, HasSubstr("NOT SENT    7 requests"));
}

TEST(BenchReportTest, JsonCarriesEveryNumber) {
  BenchReport report = MakeReport();
  report.plan.rate = 50.0;

  const auto json = nlohmann::json::parse(BenchReportToJson(report));

  EXPECT_EQ(json["mode"], "open");
  EXPECT_EQ(json["rate"], 50.0);
  EXPECT_EQ(json["latency_ns"]["p50"], 5'000'000);
  EXPECT_EQ(json["latency_ns"]["p99.9"], 10'000'000);
  EXPECT_EQ(json["latency_ns"]["max"], 10'000'000);
  EXPECT_EQ(json["codes"]["UNAVAILABLE"], 2);
  EXPECT_EQ(json["requests_per_second"], 5.0);
  EXPECT_EQ(json["verified"], 3);
  EXPECT_TRUE(json.contains("lateness_ns"));
}

TEST(BenchReportTest, SaysWhenItWasInterrupted) {
  BenchReport report = MakeReport();
  EXPECT_THAT(BenchReportToText(report), Not(HasSubstr("INTERRUPTED")));
  EXPECT_EQ(nlohmann::json::parse(BenchReportToJson(report))["interrupted"],
            false);
  report.plan.duration = std::chrono::seconds(10);
  report.load.was_stopped = true;
  report.load.num_unanswered = 4;

  const auto json = nlohmann::json::parse(BenchReportToJson(report));

  EXPECT_THAT(
      BenchReportToText(report),
      HasSubstr("INTERRUPTED after 2.00 of 10 s; 4 requests were cancelled\n"));
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_EQ(json["unanswered"], 4);
  report.load.elapsed = {};
  EXPECT_THAT(
      BenchReportToText(report),
      HasSubstr("INTERRUPTED during the warm-up, nothing measured yet;"));
}

TEST(BenchReportTest, EmptyRunHasNoThroughput) {
  EXPECT_EQ(BenchReport().requests_per_second(), 0.0);
}

}  // namespace
}  // namespace attention
