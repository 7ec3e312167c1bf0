// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <spdlog/logger.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace attention::testing {

/// Takes the log, from debug on, in place of spdlog's default logger while it
/// lives. Nobody may be logging while it is made or destroyed. Thread-safe.
class LogCapture {
 public:
  /// \param on_line is called with each line, by who logs it; null for nobody.
  explicit LogCapture(std::function<void(std::string_view)> on_line = nullptr);
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  /// What was logged, each line as "LEVEL TEXT".
  [[nodiscard]] std::vector<std::string> lines() const;

 private:
  const std::shared_ptr<spdlog::logger> before_;
  const std::function<void(std::string_view)> on_line_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace attention::testing
