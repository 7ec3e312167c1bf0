// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/bench_report.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;
using Seconds = std::chrono::duration<double>;

constexpr std::array<std::pair<std::string_view, std::uint64_t>, 5>
    kPercentiles = {{{"p50", 500},
                     {"p90", 900},
                     {"p95", 950},
                     {"p99", 990},
                     {"p99.9", 999}}};

std::string LatencyLine(std::string_view name, const LatencyRecorder& latency) {
  std::string line = FormatText("{:<9}", name);
  for (const auto& [label, per_mille] : kPercentiles) {
    line += FormatText(" {:>10.3f}",
                       Milliseconds(latency.Percentile(per_mille)).count());
  }
  return line + FormatText(" {:>10.3f} {:>10.3f}\n",
                           Milliseconds(latency.max()).count(),
                           Milliseconds(latency.mean()).count());
}

std::string LatencyTable(const BenchReport& report) {
  std::string table = FormatText("{:<9}", "ms");
  for (const auto& [label, per_mille] : kPercentiles) {
    table += FormatText(" {:>10}", label);
  }
  table += FormatText(" {:>10} {:>10}\n", "max", "mean");
  table += LatencyLine("latency", report.load.latency);
  if (!report.plan.rate) return table;
  table += LatencyLine("service", report.load.service);
  table += LatencyLine("lateness", report.load.lateness);
  return table +
         "latency counts from the time a request was due, service from when it "
         "was sent;\nlateness is what this generator itself was behind "
         "schedule\n";
}

std::string Mode(const LoadPlan& plan) {
  return plan.rate ? FormatText("open loop, Poisson arrivals, {:g} requests/s",
                                *plan.rate)
                   : FormatText("closed loop, {} in flight", plan.concurrency);
}

std::string Codes(const LoadReport& load) {
  std::string text;
  for (const auto& [code, count] : load.codes) {
    text += FormatText("{}{} {}", text.empty() ? "" : ", ",
                       absl::StatusCodeToString(code), count);
  }
  return text.empty() ? "no request was due" : text;
}

nlohmann::ordered_json LatencyToJson(const LatencyRecorder& latency) {
  nlohmann::ordered_json json = {{"count", latency.count()}};
  for (const auto& [label, per_mille] : kPercentiles) {
    json[std::string(label)] = latency.Percentile(per_mille).count();
  }
  json["max"] = latency.max().count();
  json["mean"] = latency.mean().count();
  return json;
}

double PerSecond(double count, std::chrono::nanoseconds elapsed) {
  const double seconds = Seconds(elapsed).count();
  return seconds > 0.0 ? count / seconds : 0.0;
}

}  // namespace

double BenchReport::requests_per_second() const {
  return PerSecond(static_cast<double>(load.num_ok()), load.elapsed);
}

double BenchReport::tokens_per_second() const {
  return requests_per_second() * static_cast<double>(tokens_per_request);
}

std::string BenchReportToText(const BenchReport& report) {
  const LoadReport& load = report.load;
  std::string text = FormatText(
      "{} at {}: {}{}\nquery {}, {} bytes per request, {} tokens (query rows)\n"
      "measured {:.2f} s after {:.2f} s of warm-up\n\n{}\n",
      report.module, report.target, Mode(report.plan),
      report.stream ? ", on one stream" : "", report.query,
      report.request_bytes, report.tokens_per_request,
      Seconds(load.elapsed).count(), Seconds(report.plan.warmup).count(),
      LatencyTable(report));
  text += FormatText(
      "throughput  {:.1f} requests/s, {:.0f} tokens/s\nstatus      {}\n",
      report.requests_per_second(), report.tokens_per_second(), Codes(load));
  if (load.num_not_sent > 0) {
    text += FormatText(
        "NOT SENT    {} requests were due while {} were in flight: the server "
        "cannot keep this rate\n",
        load.num_not_sent, report.plan.max_in_flight);
  }
  if (load.was_stopped) {
    text += FormatText("INTERRUPTED {}; {} requests were cancelled\n",
                       load.elapsed.count() > 0
                           ? FormatText("after {:.2f} of {:g} s",
                                        Seconds(load.elapsed).count(),
                                        Seconds(report.plan.duration).count())
                           : "during the warm-up, nothing measured yet",
                       load.num_unanswered);
  }
  text += FormatText("verified    {} answers, {} differ from the first\n",
                     report.num_verified, report.num_mismatches);
  return text;
}

std::string BenchReportToJson(const BenchReport& report) {
  const LoadReport& load = report.load;
  nlohmann::ordered_json codes = nlohmann::ordered_json::object();
  for (const auto& [code, count] : load.codes) {
    codes[absl::StatusCodeToString(code)] = count;
  }
  nlohmann::ordered_json json = {
      {"target", report.target},
      {"module", report.module},
      {"query", report.query},
      {"request_bytes", report.request_bytes},
      {"tokens_per_request", report.tokens_per_request},
      {"mode", report.plan.rate ? "open" : "closed"},
      {"stream", report.stream}};
  if (report.plan.rate) {
    json["rate"] = *report.plan.rate;
    json["seed"] = report.plan.seed;
    json["max_in_flight"] = report.plan.max_in_flight;
  } else {
    json["concurrency"] = report.plan.concurrency;
  }
  json["warmup_ns"] = report.plan.warmup.count();
  json["duration_ns"] = report.plan.duration.count();
  json["elapsed_ns"] = load.elapsed.count();
  json["requests_per_second"] = report.requests_per_second();
  json["tokens_per_second"] = report.tokens_per_second();
  json["interrupted"] = load.was_stopped;
  json["codes"] = codes;
  json["not_sent"] = load.num_not_sent;
  json["unanswered"] = load.num_unanswered;
  json["latency_ns"] = LatencyToJson(load.latency);
  json["service_ns"] = LatencyToJson(load.service);
  json["failed_ns"] = nlohmann::ordered_json::object();
  for (const auto& [code, service] : load.failed) {
    json["failed_ns"][absl::StatusCodeToString(code)] = LatencyToJson(service);
  }
  if (report.plan.rate) json["lateness_ns"] = LatencyToJson(load.lateness);
  json["verified"] = report.num_verified;
  json["mismatches"] = report.num_mismatches;
  // Names from the command line need not be UTF-8.
  return json.dump(/*indent=*/2, /*indent_char=*/' ', /*ensure_ascii=*/false,
                   nlohmann::ordered_json::error_handler_t::replace) +
         '\n';
}

}  // namespace attention
