// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/server_metrics.h"

#include <chrono>
#include <iterator>
#include <string>
#include <utility>

#include "server/metrics/metrics_observer.h"
#include "server/metrics/process_metrics.h"

namespace attention {
namespace {

using prometheus::MetricType;

// Modules that are served, in the order of their names.
std::vector<ModuleRecord> Served(const ModuleRegistry& registry) {
  std::vector<ModuleRecord> records = registry.List();
  std::erase_if(records,
                [](const auto& record) { return record.module == nullptr; });
  return records;
}

std::vector<MetricSample> ModuleMemory(const ModuleRegistry& registry) {
  std::vector<MetricSample> samples;
  for (const ModuleRecord& record : Served(registry)) {
    if (samples.size() == MetricsObserver::kMaxModules) break;
    samples.push_back(
        {.value = static_cast<double>(record.module->memory_bytes()),
         .labels = {{"module", record.name}}});
  }
  return samples;
}

SampledMetric Constant(std::string name, std::string help, std::size_t value) {
  return SampledGauge(std::move(name), std::move(help),
                      [value] { return static_cast<double>(value); });
}

SampledMetric RefusedConnections(const AcceptLoop& loop) {
  return {"attention_refused_connections_total",
          "Connections closed as soon as they came: beyond --max-connections, "
          "or for want of descriptors or memory.",
          MetricType::Counter, [&loop] {
            const auto sample = [&loop](Refusal why, std::string reason) {
              return MetricSample{static_cast<double>(loop.num_refused(why)),
                                  {{"reason", std::move(reason)}}};
            };
            return std::vector<MetricSample>{
                sample(Refusal::kLimit, "limit"),
                sample(Refusal::kShortage, "shortage")};
          }};
}

SampledMetric BuildInfo(PathChoice path) {
  MetricLabels labels = {{"version", ATTENTION_VERSION}};
  if (const auto environment = DescribeComputeEnvironment(path);
      environment.ok()) {
    labels.push_back({"isa", std::string(environment->instructions)});
    labels.push_back({"onednn", environment->onednn_version});
  }
  return {"attention_build_info",
          "1, with the version, the instructions that float32 modules are "
          "computed by, and the version of oneDNN.",
          MetricType::Gauge, [sample = MetricSample{1, std::move(labels)}] {
            return std::vector<MetricSample>{sample};
          }};
}

}  // namespace

std::vector<SampledMetric> ServerMetrics(const SampledParts& parts) {
  std::vector<SampledMetric> metrics = {
      SampledGauge("attention_predicted_wait_seconds",
                   "What waits and is computed is predicted to take so long.",
                   [&executor = parts.executor] {
                     return std::chrono::duration<double>(
                                executor.LookAhead().predicted_time)
                         .count();
                   }),
      SampledGauge("attention_prediction_error_ratio",
                   "Mean of |took / predicted - 1| of late, over all modules.",
                   [&executor = parts.executor] {
                     return executor.LookAhead().prediction_error;
                   }),
      SampledGauge("attention_inflight_bytes",
                   "Memory reserved for requests and answers in flight.",
                   [&admission = parts.admission] {
                     return static_cast<double>(admission.reserved_bytes());
                   }),
      Constant("attention_inflight_limit_bytes",
               "The most that may be reserved (--max-queue-bytes).",
               parts.max_queue_bytes),
      SampledGauge("attention_modules", "Modules that are served.",
                   [&registry = parts.registry] {
                     return static_cast<double>(Served(registry).size());
                   }),
      {"attention_module_memory_bytes", "Memory of a module that is served.",
       MetricType::Gauge,
       [&registry = parts.registry] { return ModuleMemory(registry); }},
      Constant("attention_modules_limit_bytes",
               "The most memory of all modules (--max-loaded-bytes).",
               parts.max_loaded_bytes),
      SampledGauge("attention_connections", "Connections that are open.",
                   [&connections = parts.connections] {
                     return static_cast<double>(connections.count());
                   }),
      Constant("attention_connections_limit",
               "The most that may be open (--max-connections).",
               parts.connections.max_connections()),
      RefusedConnections(parts.accept_loop),
      BuildInfo(parts.compute_path)};
  std::vector<SampledMetric> process = ProcessMetrics();
  metrics.insert(metrics.end(), std::make_move_iterator(process.begin()),
                 std::make_move_iterator(process.end()));
  return metrics;
}

}  // namespace attention
