// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace attention {

/// Counts failures by their code, to be told of together. Not thread-safe.
class FailureTally {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// From the first failure on, as long until they are told of.
  static constexpr std::chrono::seconds kPeriod{10};

  void Add(const absl::Status& status, Time now);

  /// \param now as late as can be, to have what there is without waiting.
  /// \return a line about the failures since the last one, once the period is
  ///   over; empty if there is nothing to say.
  [[nodiscard]] std::string Take(Time now);

 private:
  std::optional<Time> begin_;
  std::map<absl::StatusCode, std::uint64_t> counts_;
  absl::Status last_;
};

}  // namespace attention
