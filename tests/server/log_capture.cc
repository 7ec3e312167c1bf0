// SPDX-License-Identifier: Apache-2.0
#include "tests/server/log_capture.h"

#include <spdlog/sinks/callback_sink.h>
#include <spdlog/spdlog.h>

#include <utility>

namespace attention::testing {

LogCapture::LogCapture(std::function<void(std::string_view)> on_line)
    : before_(spdlog::default_logger()), on_line_(std::move(on_line)) {
  auto logger = std::make_shared<spdlog::logger>(
      "capture",
      std::make_shared<spdlog::sinks::callback_sink_mt>(
          [this](const spdlog::details::log_msg& event) {
            const auto level = spdlog::level::to_string_view(event.level);
            std::string line(level.data(), level.size());
            line.append(" ").append(event.payload.data(), event.payload.size());
            if (on_line_) on_line_(line);
            const std::lock_guard lock(mutex_);
            lines_.push_back(std::move(line));
          }));
  logger->set_level(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

LogCapture::~LogCapture() { spdlog::set_default_logger(before_); }

std::vector<std::string> LogCapture::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

}  // namespace attention::testing
