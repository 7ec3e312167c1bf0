// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "server/metrics/metric_families.h"

namespace attention {

/// What every Prometheus client tells of its process, under the names they have
/// agreed on (process_…): memory, processor time, descriptors, when it began.
/// What /proc does not tell is left out. Thread-safe.
[[nodiscard]] std::vector<SampledMetric> ProcessMetrics();

}  // namespace attention
