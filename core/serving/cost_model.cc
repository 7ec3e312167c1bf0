// SPDX-License-Identifier: Apache-2.0
#include "core/serving/cost_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace attention {
namespace {

using Size = ForwardTask::Size;

// What an observation counts in the long run: the last ten or so are
// remembered.
constexpr double kLeastRate = 0.2;
// So many of the first count in full, those behind them less and less.
constexpr double kNumFirst = 40;
constexpr double kDoubtRate = 0.01;
constexpr std::chrono::milliseconds kDoubtInterval{100};
constexpr double kErrorRate = 0.05;

constexpr double kLargestStep = 4;
// Coefficients stay where arithmetic is exact enough.
constexpr double kLeast = 1e-9;
// More than a day; sums of many do not overflow.
constexpr double kLongest = 1e14;

}  // namespace

double CostModel::Time(const Parts& coefficients, const Size& size,
                       std::int64_t num_batches) {
  const double time = coefficients[0] * static_cast<double>(num_batches) +
                      coefficients[1] * static_cast<double>(size.tokens) +
                      coefficients[2] * static_cast<double>(size.pairs);
  return std::min(std::max({time, 1.0, static_cast<double>(num_batches)}),
                  kLongest);
}

CostModel::Nanoseconds CostModel::Predict(const Size& size,
                                          std::int64_t num_batches) const {
  return Nanoseconds(
      static_cast<std::int64_t>(Time(coefficients_, size, num_batches)));
}

void CostModel::Learn(const Size& size, Nanoseconds took) {
  ++num_learned_;
  const auto count = static_cast<double>(num_learned_);
  const double ratio = std::clamp(
      static_cast<double>(took.count()) / Time(coefficients_, size, 1),
      1 / kLargestStep, kLargestStep);
  error_ += std::max(kErrorRate, 1 / count) * (std::abs(ratio - 1) - error_);
  Step(size, std::log(ratio), std::clamp(kNumFirst / count, kLeastRate, 1.0));
}

void CostModel::Doubt(const Size& size, Clock::time_point now) {
  if (now - doubted_ < kDoubtInterval) return;
  doubted_ = now;
  const double ratio =
      std::clamp(Time(kStart, size, 1) / Time(coefficients_, size, 1),
                 1 / kLargestStep, 1.0);
  Step(size, std::log(ratio), kDoubtRate);
}

void CostModel::Step(const Size& size, double log_ratio, double rate) {
  const Parts work = {1, static_cast<double>(size.tokens),
                      static_cast<double>(size.pairs)};
  Parts shares{};
  double time = 0;
  for (std::size_t i = 0; i < work.size(); ++i) {
    shares[i] = coefficients_[i] * work[i];
    time += shares[i];
  }
  double squares = 0;
  for (double& share : shares) {
    share /= time;
    squares += share * share;
  }
  for (std::size_t i = 0; i < work.size(); ++i) {
    coefficients_[i] *= std::exp(rate * log_ratio * shares[i] / squares);
    coefficients_[i] = std::clamp(coefficients_[i], kLeast, kLongest);
  }
}

CostModel& CostModels::Of(const ForwardTask& task) {
  const ModuleImplementation* const implementation = &task.implementation();
  if (const auto found = entries_.find(implementation);
      found != entries_.end() && !found->second.module.expired()) {
    return found->second.model;
  }
  std::erase_if(entries_, [](const auto& entry) {
    return entry.second.module.expired();
  });
  Entry& entry = entries_[implementation];
  entry.module = task.module();
  return entry.model;
}

CostModel* CostModels::Find(const ModuleImplementation* implementation) {
  const auto found = entries_.find(implementation);
  return found == entries_.end() ? nullptr : &found->second.model;
}

const CostModel* CostModels::Find(
    const ModuleImplementation* implementation) const {
  const auto found = entries_.find(implementation);
  return found == entries_.end() ? nullptr : &found->second.model;
}

double CostModels::error() const {
  double sum = 0;
  for (const auto& [implementation, entry] : entries_) {
    sum += entry.model.error();
  }
  return entries_.empty() ? 0 : sum / static_cast<double>(entries_.size());
}

}  // namespace attention
