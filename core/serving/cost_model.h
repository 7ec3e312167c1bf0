// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>

#include "core/serving/forward_task.h"

namespace attention {

/// Predicts how long computing takes, and learns from how long it took:
///
///   time = a + b tokens + c pairs,  a, b, c > 0
///
/// A coefficient is multiplied by (took / predicted)^g, where g goes by the
/// part's share of the prediction: small requests teach nothing about what
/// large ones take for their pairs. It starts from times that only a fast
/// machine needs for a small module, so that hardly anything is refused by
/// ignorance. Not thread-safe. Source: Kivinen and Warmuth 1997, "Exponentiated
/// gradient versus gradient descent for linear predictors", on the logarithm of
/// the time, with the normalised step of Widrow and Hoff's LMS.
class CostModel {
 public:
  using Clock = ForwardTask::Clock;
  using Nanoseconds = std::chrono::nanoseconds;

  /// Predict work done in so many batches; at least 1 ns each.
  [[nodiscard]] Nanoseconds Predict(const ForwardTask::Size& size,
                                    std::int64_t num_batches = 1) const;

  /// Take in what a batch took: four times or a quarter of the prediction at
  /// most.
  void Learn(const ForwardTask::Size& size, Nanoseconds took);

  /// A request of this size was refused for what it is predicted to take, which
  /// teaches nothing: forget a little of why, so that a wrong prediction does
  /// not stay for ever.
  /// At most once in a while, so that many refusals do not unlearn it all.
  void Doubt(const ForwardTask::Size& size, Clock::time_point now);

  /// Whether it has been shown anything.
  [[nodiscard]] bool has_learned() const { return num_learned_ > 0; }

  /// Mean of |took / predicted - 1|, lately; 0 before the first.
  [[nodiscard]] double error() const { return error_; }

 private:
  using Parts = std::array<double, 3>;

  // What a batch, a token and a pair take at the start, in nanoseconds: about
  // what 32 channels need.
  static constexpr Parts kStart = {20'000, 1'000, 1};

  [[nodiscard]] static double Time(const Parts& coefficients,
                                   const ForwardTask::Size& size,
                                   std::int64_t num_batches);
  void Step(const ForwardTask::Size& size, double log_ratio, double rate);

  Parts coefficients_ = kStart;
  double error_ = 0;
  std::int64_t num_learned_ = 0;
  Clock::time_point doubted_{};
};

/// The models of all implementations that are served. Not thread-safe.
class CostModels {
 public:
  /// Return the model of what computes `task`, a new one if need be, and forget
  /// those of modules that are gone. Throws std::bad_alloc. Lifetime: the
  /// module's, at least.
  [[nodiscard]] CostModel& Of(const ForwardTask& task);
  /// Return a model that is there; else null.
  [[nodiscard]] CostModel* Find(const ModuleImplementation* implementation);
  [[nodiscard]] const CostModel* Find(
      const ModuleImplementation* implementation) const;

  /// The mean of their errors.
  [[nodiscard]] double error() const;

 private:
  struct Entry {
    std::weak_ptr<const AttentionModule> module;
    CostModel model;
  };
  std::map<const ModuleImplementation*, Entry> entries_;
};

}  // namespace attention
