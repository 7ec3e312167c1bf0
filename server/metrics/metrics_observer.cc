// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_observer.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "core/serving/admission_controller.h"
#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "server/rpc/served_services.h"

namespace attention {
namespace {

using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr char kOther[] = "other";
constexpr std::string_view kForwardService = "attention.v1.AttentionService/";

// From a small request on an idle machine to what nobody waits for: 1, 2, 5.
const Histogram::BucketBoundaries kSeconds = {
    20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3,
    20e-3, 50e-3, 100e-3, 200e-3, 500e-3, 1,    2,    5,    10};
const Histogram::BucketBoundaries kRequests = {1,  2,  4,   8,   16,
                                               32, 64, 128, 256, 512};
const Histogram::BucketBoundaries kTokens = {
    1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536};

// Why requests are refused; the order of Reason's values.
constexpr std::array<std::string_view, 8> kReasons = {
    "cancelled", "deadline",    "invalid",        "overload",
    "too_large", "unavailable", "unknown_module", kOther};
enum Reason : std::uint8_t {
  kCancelled,
  kDeadline,
  kInvalid,
  kOverload,
  kTooLarge,
  kUnavailable,
  kUnknownModule,
  kOtherReason
};

Reason ReasonOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
      return kCancelled;
    case absl::StatusCode::kDeadlineExceeded:
      return kDeadline;
    case absl::StatusCode::kInvalidArgument:
      return kInvalid;
    case absl::StatusCode::kResourceExhausted:
      return IsOverload(status) ? kOverload : kTooLarge;
    case absl::StatusCode::kUnavailable:
      return kUnavailable;
    case absl::StatusCode::kNotFound:
      return kUnknownModule;
    default:
      return kOtherReason;
  }
}

// Methods as labels: SERVICE/METHOD.
std::vector<std::string> MethodLabels() {
  std::vector<std::string> labels;
  for (const auto* service : ServedServices()) {
    for (int i = 0; i < service->method_count(); ++i) {
      labels.push_back(FormatText("{}/{}", service->full_name(),
                                  service->method(i)->name()));
    }
  }
  labels.emplace_back(kOther);
  return labels;
}

std::string CodeName(std::size_t code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

double Seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

template <typename Number>
double Value(const std::atomic<Number>& number) {
  return static_cast<double>(number.load(std::memory_order_relaxed));
}

template <typename Number>
void Add(std::atomic<Number>& number, Number by) {
  number.fetch_add(by, std::memory_order_relaxed);
}

MetricFamily OneGauge(std::string name, std::string help, double value) {
  return MakeFamily(std::move(name), std::move(help), MetricType::Gauge,
                    {{.value = value}});
}

}  // namespace

MetricsObserver::ModuleSeries::ModuleSeries(std::size_t num_methods)
    : requests(num_methods),
      total(kSeconds),
      decode(kSeconds),
      queue(kSeconds),
      compute(kSeconds) {}

MetricsObserver::MetricsObserver()
    : methods_(MethodLabels()),
      method_series_(methods_.size()),
      batch_requests_(kRequests),
      batch_tokens_(kTokens) {
  static_assert(kReasons.size() == kNumReasons);
  modules_[""] = std::make_unique<ModuleSeries>(methods_.size());
  modules_[kOther] = std::make_unique<ModuleSeries>(methods_.size());
}

void MetricsObserver::OnModuleChanged(std::string_view name, bool serving) {
  if (name.empty() || name == kOther) return;
  const absl::Status changed = CatchBadAlloc([&] {
    ChangeModule(name, serving);
    return absl::OkStatus();
  });
  (void)changed;  // without memory for its series, it counts as others do
}

void MetricsObserver::ChangeModule(std::string_view name, bool serving) {
  // Made before, and freed after anybody is kept waiting.
  Modules::node_type gone;
  auto series =
      serving ? std::make_unique<ModuleSeries>(methods_.size()) : nullptr;
  const std::lock_guard lock(mutex_);
  if (const auto found = modules_.find(name); found != modules_.end()) {
    gone = modules_.extract(found);
  }
  if (serving && modules_.size() < kMaxModules + 2) {
    modules_.emplace(name, std::move(series));
  }
}

std::size_t MetricsObserver::MethodIndex(std::string_view method) const {
  if (method.starts_with('/')) method.remove_prefix(1);
  const auto last = methods_.end() - 1;
  return static_cast<std::size_t>(std::find(methods_.begin(), last, method) -
                                  methods_.begin());
}

MetricsObserver::ModuleSeries& MetricsObserver::Find(
    std::string_view module) const {
  const auto found = modules_.find(module);
  return *(found != modules_.end() ? found : modules_.find(kOther))->second;
}

void MetricsObserver::OnLeft(const CallRecord& call,
                             const absl::Status& status) {
  const std::size_t method = MethodIndex(call.method);
  MethodSeries& series = method_series_[method];
  Add<std::uint64_t>(series.request_bytes, call.request_bytes);
  Add<std::uint64_t>(series.response_bytes, call.response_bytes);
  if (call.is_stream) {
    Add<std::uint64_t>(series.streams[static_cast<std::size_t>(status.code())],
                       1);
  } else {
    CountRequest(call, method, status);
  }
}

void MetricsObserver::CountRequest(const CallRecord& call, std::size_t method,
                                   const absl::Status& status) {
  const bool is_computed = call.times.batch_size > 0;
  if (!status.ok() && !is_computed &&
      methods_[method].starts_with(kForwardService)) {
    Add<std::uint64_t>(refused_[ReasonOf(status)], 1);
  }
  const std::shared_lock lock(mutex_);
  ModuleSeries& series = Find(call.module);
  Add<std::uint64_t>(
      series.requests[method][static_cast<std::size_t>(status.code())], 1);
  if (call.decode.count() > 0) series.decode.Observe(Seconds(call.decode));
  if (call.times.queue.count() > 0) {
    series.queue.Observe(Seconds(call.times.queue));
  }
  if (!is_computed) return;
  series.compute.Observe(Seconds(call.times.compute));
  if (status.ok()) series.total.Observe(Seconds(call.total));
}

void MetricsObserver::OnSubmitted() { Add<std::int64_t>(queued_, 1); }

void MetricsObserver::OnBatchStarted(std::size_t num_requests,
                                     const ForwardTask::Size& size) {
  batch_requests_.Observe(static_cast<double>(num_requests));
  batch_tokens_.Observe(static_cast<double>(size.tokens));
}

void MetricsObserver::OnStarted(const ForwardTask::Times& /*times*/) {
  Add<std::int64_t>(queued_, -1);
  Add<std::int64_t>(computing_, 1);
}

void MetricsObserver::OnCompleted(const absl::Status& /*status*/,
                                  const ForwardTask::Times& times) {
  Add<std::int64_t>(times.batch_size == 0 ? queued_ : computing_, -1);
}

std::vector<MetricFamily> MetricsObserver::Collect() const {
  std::vector<MetricFamily> families;
  {
    const std::shared_lock lock(mutex_);
    families.push_back(CollectRequests());
    families.push_back(CollectTotals());
    families.push_back(CollectPhases());
  }
  families.push_back(CollectStreams());
  families.push_back(CollectRefused());
  families.push_back(CollectBytes(&MethodSeries::request_bytes, "request"));
  families.push_back(CollectBytes(&MethodSeries::response_bytes, "response"));
  families.push_back(OneGauge("attention_queued_requests",
                              "Requests that wait to be computed.",
                              Value(queued_)));
  families.push_back(OneGauge("attention_computing_requests",
                              "Requests that are being computed.",
                              Value(computing_)));
  families.push_back(MakeFamily("attention_batch_requests",
                                "How many requests were computed together.",
                                batch_requests_));
  families.push_back(MakeFamily(
      "attention_batch_tokens",
      "How many tokens were computed together: of each sequence the longer of "
      "its queries and keys.",
      batch_tokens_));
  return families;
}

MetricFamily MetricsObserver::CollectRequests() const {
  std::vector<MetricSample> samples;
  for (const auto& [module, series] : modules_) {
    for (std::size_t i = 0; i < methods_.size(); ++i) {
      for (std::size_t code = 0; code < kNumCodes; ++code) {
        const Count& count = series->requests[i][code];
        if (Value(count) == 0) continue;
        samples.push_back({.value = Value(count),
                           .labels = {{"method", methods_[i]},
                                      {"module", module},
                                      {"code", CodeName(code)}}});
      }
    }
  }
  return MakeFamily("attention_requests_total",
                    "Calls answered, and requests of ForwardStreams.",
                    MetricType::Counter, samples);
}

MetricFamily MetricsObserver::CollectTotals() const {
  MetricFamily family{"attention_request_duration_seconds",
                      "From entering to being answered, of the forward "
                      "requests that were answered with OK.",
                      MetricType::Histogram,
                      {}};
  for (const auto& [module, series] : modules_) {
    AddHistogram(series->total, {{"module", module}}, &family);
  }
  return family;
}

MetricFamily MetricsObserver::CollectPhases() const {
  MetricFamily family{
      "attention_request_phase_duration_seconds",
      "Phases of forward requests, of each those that went through it: decode "
      "(parse, validate, admit), queue (wait), compute (with all of a batch).",
      MetricType::Histogram,
      {}};
  for (const auto& [module, series] : modules_) {
    const auto add = [&](const Histogram& histogram, const char* phase) {
      AddHistogram(histogram, {{"module", module}, {"phase", phase}}, &family);
    };
    add(series->decode, "decode");
    add(series->queue, "queue");
    add(series->compute, "compute");
  }
  return family;
}

MetricFamily MetricsObserver::CollectStreams() const {
  std::vector<MetricSample> samples;
  for (std::size_t i = 0; i < methods_.size(); ++i) {
    for (std::size_t code = 0; code < kNumCodes; ++code) {
      const Count& count = method_series_[i].streams[code];
      if (Value(count) == 0) continue;
      samples.push_back(
          {.value = Value(count),
           .labels = {{"method", methods_[i]}, {"code", CodeName(code)}}});
    }
  }
  return MakeFamily("attention_streams_total",
                    "Streams ended, of methods whose streams last as long as "
                    "the client likes.",
                    MetricType::Counter, samples);
}

MetricFamily MetricsObserver::CollectRefused() const {
  std::vector<MetricSample> samples;
  for (std::size_t i = 0; i < kNumReasons; ++i) {
    samples.push_back({.value = Value(refused_[i]),
                       .labels = {{"reason", std::string(kReasons[i])}}});
  }
  return MakeFamily("attention_refused_requests_total",
                    "Forward requests that ended before they were computed.",
                    MetricType::Counter, samples);
}

MetricFamily MetricsObserver::CollectBytes(Count MethodSeries::* bytes,
                                           std::string_view what) const {
  std::vector<MetricSample> samples;
  for (std::size_t i = 0; i < methods_.size(); ++i) {
    const double value = Value(method_series_[i].*bytes);
    if (value == 0) continue;
    samples.push_back({.value = value, .labels = {{"method", methods_[i]}}});
  }
  return MakeFamily(FormatText("attention_{}_bytes_total", what),
                    FormatText("Bytes of {} messages.", what),
                    MetricType::Counter, samples);
}

}  // namespace attention
