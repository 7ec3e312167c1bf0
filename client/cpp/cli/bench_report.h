// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "client/cpp/cli/load_generator.h"

namespace attention {

/// Everything a bench run says about itself.
struct BenchReport {
  std::string target;
  std::string module;
  std::string query;  ///< dtype and shape
  std::size_t request_bytes = 0;
  std::int64_t tokens_per_request = 0;  ///< query rows
  bool stream = false;  ///< on one ForwardStream, not by a call each
  LoadPlan plan;
  LoadReport load;
  std::uint64_t num_verified = 0;
  std::uint64_t num_mismatches = 0;

  [[nodiscard]] double requests_per_second() const;
  [[nodiscard]] double tokens_per_second() const;
};

/// Write the report for a reader.
[[nodiscard]] std::string BenchReportToText(const BenchReport& report);

/// Write the report as one JSON object; times in nanoseconds.
[[nodiscard]] std::string BenchReportToJson(const BenchReport& report);

}  // namespace attention
