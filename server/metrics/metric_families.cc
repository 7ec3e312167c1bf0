// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metric_families.h"

namespace attention {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;

SampledMetric OneValue(std::string name, std::string help, MetricType type,
                       std::function<double()> read) {
  return {std::move(name), std::move(help), type, [read = std::move(read)] {
            return std::vector<MetricSample>{{.value = read()}};
          }};
}

}  // namespace

SampledMetric SampledGauge(std::string name, std::string help,
                           std::function<double()> read) {
  return OneValue(std::move(name), std::move(help), MetricType::Gauge,
                  std::move(read));
}

SampledMetric SampledCounter(std::string name, std::string help,
                             std::function<double()> read) {
  return OneValue(std::move(name), std::move(help), MetricType::Counter,
                  std::move(read));
}

prometheus::MetricFamily MakeFamily(std::string name, std::string help,
                                    MetricType type,
                                    const std::vector<MetricSample>& samples) {
  prometheus::MetricFamily family{std::move(name), std::move(help), type, {}};
  family.metric.reserve(samples.size());
  for (const MetricSample& sample : samples) {
    ClientMetric metric;
    metric.label = sample.labels;
    (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        sample.value;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

prometheus::MetricFamily MakeFamily(std::string name, std::string help,
                                    const prometheus::Histogram& histogram) {
  return {std::move(name),
          std::move(help),
          MetricType::Histogram,
          {histogram.Collect()}};
}

void AddHistogram(const prometheus::Histogram& histogram, MetricLabels labels,
                  prometheus::MetricFamily* family) {
  ClientMetric metric = histogram.Collect();
  if (metric.histogram.sample_count == 0) return;
  metric.label = std::move(labels);
  family->metric.push_back(std::move(metric));
}

}  // namespace attention
