// SPDX-License-Identifier: Apache-2.0
#include "server/host/log.h"

#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

namespace attention {
namespace {

std::string Format(const std::string& format, const std::string& message) {
  const spdlog::log_clock::time_point time{std::chrono::milliseconds(1500)};
  const spdlog::details::log_msg event(time, {}, "", spdlog::level::warn,
                                       message);
  spdlog::memory_buf_t line;
  MakeLogFormatter(format)->format(event, line);
  return {line.data(), line.size()};
}

TEST(LogTest, WritesTextLines) {
  EXPECT_EQ(Format("text", "hello"),
            "1970-01-01T00:00:01.500Z warning hello\n");
}

TEST(LogTest, EscapesControlCharactersInText) {
  EXPECT_EQ(Format("text", "a\nb\x1B[1m"),
            "1970-01-01T00:00:01.500Z warning a\\x0ab\\x1b[1m\n");
}

TEST(LogTest, WritesJsonObjects) {
  const auto object = nlohmann::json::parse(Format("json", "say \"hi\"\n"));

  EXPECT_EQ(object["time"], "1970-01-01T00:00:01.500Z");
  EXPECT_EQ(object["level"], "warning");
  EXPECT_EQ(object["message"], "say \"hi\"\n");
}

TEST(LogTest, WritesJsonOfBytesThatAreNotUtf8) {
  EXPECT_TRUE(nlohmann::json::accept(Format("json", "\xFF\xFE")));
}

}  // namespace
}  // namespace attention
