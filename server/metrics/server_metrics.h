// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "core/module/compute_choice.h"
#include "core/module/module_registry.h"
#include "core/serving/admission_controller.h"
#include "core/serving/executor.h"
#include "server/metrics/metric_families.h"
#include "server/net/accept_loop.h"

namespace attention {

/// What of a server is read when metrics are asked for; borrowed.
struct SampledParts {
  const Executor& executor;
  const AdmissionController& admission;
  std::size_t max_queue_bytes;
  const ModuleRegistry& registry;
  std::size_t max_loaded_bytes;
  const AcceptLoop& accept_loop;
  const OpenConnections& connections;
  PathChoice compute_path;
};

/// What waits by prediction, bytes in flight, modules and their memory,
/// connections, the build, and the process. Of modules the first
/// MetricsObserver::kMaxModules are told by name.
[[nodiscard]] std::vector<SampledMetric> ServerMetrics(
    const SampledParts& parts);

}  // namespace attention
