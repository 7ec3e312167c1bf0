// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/serving/serving_observer.h"
#include "server/metrics/metric_families.h"
#include "server/rpc/call_observer.h"

namespace attention {

// The room `server/metrics`: what can be seen of a running server from outside:
// counts of what the observers are told, values read from the other rooms, and
// the endpoint that serves both to Prometheus. Uses server/rpc and what lies
// below it; nothing below knows of it. Prometheus's library is seen here alone.

/// Counts what it is told.
///
/// A module has series of its own while it is served, at most kMaxModules at a
/// time; everything else that names one is counted as module "other", as is a
/// module of that name. What names none has an empty label. Methods that are
/// not served are "other". So whatever clients send, the number of series is
/// bounded. Thread-safe.
class MetricsObserver final : public CallObserver, public ServingObserver {
 public:
  static constexpr std::size_t kMaxModules = 128;

  MetricsObserver();

  /// A module of this name is served from now on, or no longer.
  /// Does not throw.
  void OnModuleChanged(std::string_view name, bool serving);

  void OnEntered(const CallRecord& /*call*/) override {}
  void OnLeft(const CallRecord& call, const absl::Status& status) override;

  void OnSubmitted() override;
  void OnBatchStarted(std::size_t num_requests,
                      const ForwardTask::Size& size) override;
  void OnStarted(const ForwardTask::Times& times) override;
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override;

  /// What was counted until now.
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const;

 private:
  void ChangeModule(std::string_view name, bool serving);
  using Count = std::atomic<std::uint64_t>;

  static constexpr std::size_t kNumCodes = 17;
  static constexpr std::size_t kNumReasons = 8;

  // What is counted of one method.
  struct MethodSeries {
    Count request_bytes{0};
    Count response_bytes{0};
    std::array<Count, kNumCodes> streams{};  ///< by the code they ended with
  };

  // What is counted of one module.
  struct ModuleSeries {
    explicit ModuleSeries(std::size_t num_methods);

    std::vector<std::array<Count, kNumCodes>> requests;  ///< by method
    prometheus::Histogram total;
    prometheus::Histogram decode;
    prometheus::Histogram queue;
    prometheus::Histogram compute;
  };
  using Modules =
      std::map<std::string, std::unique_ptr<ModuleSeries>, std::less<>>;

  [[nodiscard]] std::size_t MethodIndex(std::string_view method) const;
  [[nodiscard]] ModuleSeries& Find(std::string_view module) const;
  void CountRequest(const CallRecord& call, std::size_t method,
                    const absl::Status& status);

  // Parts of Collect; those of modules with the mutex held.
  [[nodiscard]] prometheus::MetricFamily CollectRequests() const;
  [[nodiscard]] prometheus::MetricFamily CollectTotals() const;
  [[nodiscard]] prometheus::MetricFamily CollectPhases() const;
  [[nodiscard]] prometheus::MetricFamily CollectStreams() const;
  [[nodiscard]] prometheus::MetricFamily CollectRefused() const;
  [[nodiscard]] prometheus::MetricFamily CollectBytes(
      Count MethodSeries::* bytes, std::string_view what) const;

  const std::vector<std::string> methods_;  ///< labels; the last is "other"
  std::vector<MethodSeries> method_series_;
  std::array<Count, kNumReasons> refused_{};
  std::atomic<std::int64_t> queued_{0};
  std::atomic<std::int64_t> computing_{0};
  prometheus::Histogram batch_requests_;
  prometheus::Histogram batch_tokens_;

  /// Held shared while series are used, alone while they come and go.
  mutable std::shared_mutex mutex_;
  Modules modules_;  ///< with "" and "other"
};

}  // namespace attention
