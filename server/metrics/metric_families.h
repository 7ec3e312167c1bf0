// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace attention {

/// Names and values that tell the series of a family apart.
using MetricLabels = std::vector<prometheus::ClientMetric::Label>;

/// A value at one moment, and its labels.
struct MetricSample {
  double value = 0;
  MetricLabels labels = {};
};

/// A family that is read when somebody asks for it.
struct SampledMetric {
  std::string name;
  std::string help;
  prometheus::MetricType type = prometheus::MetricType::Gauge;
  /// Called on the endpoint's thread; must be quick.
  std::function<std::vector<MetricSample>()> read;
};

/// One value that may fall.
[[nodiscard]] SampledMetric SampledGauge(std::string name, std::string help,
                                         std::function<double()> read);
/// One value that never falls; its name ends in _total.
[[nodiscard]] SampledMetric SampledCounter(std::string name, std::string help,
                                           std::function<double()> read);

/// A family of counters or gauges.
[[nodiscard]] prometheus::MetricFamily MakeFamily(
    std::string name, std::string help, prometheus::MetricType type,
    const std::vector<MetricSample>& samples);

/// A family of one histogram.
[[nodiscard]] prometheus::MetricFamily MakeFamily(
    std::string name, std::string help, const prometheus::Histogram& histogram);

/// Add a histogram to a family of histograms, if it has counted anything.
void AddHistogram(const prometheus::Histogram& histogram, MetricLabels labels,
                  prometheus::MetricFamily* family);

}  // namespace attention
