// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "server/metrics/metric_families.h"
#include "server/metrics/metrics_observer.h"

namespace attention {

/// Everything there is to see, in Prometheus's text format. Thread-safe as far
/// as what is sampled is.
class MetricsPage {
 public:
  /// \param observer is borrowed. \param sampled is read for each page.
  MetricsPage(const MetricsObserver& observer,
              std::vector<SampledMetric> sampled)
      : observer_(observer), sampled_(std::move(sampled)) {}

  /// Throws std::bad_alloc at most.
  [[nodiscard]] std::string Write() const;

 private:
  const MetricsObserver& observer_;
  const std::vector<SampledMetric> sampled_;
};

}  // namespace attention
