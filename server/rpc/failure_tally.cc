// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/failure_tally.h"

#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"

namespace attention {

void FailureTally::Add(const absl::Status& status, Time now) {
  if (!begin_) begin_ = now;
  ++counts_[status.code()];
  last_ = status;
}

std::string FailureTally::Take(Time now) {
  if (!begin_ || now - *begin_ < kPeriod) return "";
  std::uint64_t total = 0;
  std::string by_code;
  for (const auto& [code, count] : counts_) {
    total += count;
    by_code += FormatText("{}{} x {}", by_code.empty() ? "" : ", ",
                          absl::StatusCodeToString(code), count);
  }
  const std::string line =
      FormatText("failed requests in the last {} s: {} ({}); the last: {}",
                 kPeriod.count(), total, by_code, StatusText(last_));
  begin_.reset();
  counts_.clear();
  return line;
}

}  // namespace attention
