// SPDX-License-Identifier: Apache-2.0
#include "server/host/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

std::atomic<spdlog::level::level_enum> grpc_error_level{spdlog::level::debug};

std::string_view View(spdlog::string_view_t text) {
  return {text.data(), text.size()};
}

std::string Timestamp(std::chrono::system_clock::time_point time) {
  return FormatText("{:%Y-%m-%dT%H:%M:%S}Z",
                    std::chrono::floor<std::chrono::milliseconds>(time));
}

void Append(const std::string& line, spdlog::memory_buf_t& dest) {
  dest.append(line.data(), line.data() + line.size());
}

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& event,
              spdlog::memory_buf_t& dest) override {
    std::string line =
        FormatText("{} {} ", Timestamp(event.time),
                   View(spdlog::level::to_string_view(event.level)));
    for (const char c : View(event.payload)) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte == 0x7F) {
        line += FormatText("\\x{:02x}", static_cast<unsigned>(byte));
      } else {
        line += c;
      }
    }
    Append(line + "\n", dest);
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& event,
              spdlog::memory_buf_t& dest) override {
    const nlohmann::ordered_json object = {
        {"time", Timestamp(event.time)},
        {"level", View(spdlog::level::to_string_view(event.level))},
        {"message", View(event.payload)}};
    Append(object.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false,
                       nlohmann::json::error_handler_t::replace) +
               "\n",
           dest);
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

void LogGrpc(gpr_log_func_args* event) {
  spdlog::log(event->severity == GPR_LOG_SEVERITY_ERROR
                  ? grpc_error_level.load()
                  : spdlog::level::debug,
              "grpc: {}", event->message);
}

// Protobuf complains here of malformed messages, which the client is told.
void LogProtobuf(google::protobuf::LogLevel /*level*/, const char* /*file*/,
                 int /*line*/, const std::string& message) {
  spdlog::debug("protobuf: {}", message);
}

}  // namespace

std::unique_ptr<spdlog::formatter> MakeLogFormatter(const std::string& format) {
  if (format == "json") return std::make_unique<JsonFormatter>();
  return std::make_unique<TextFormatter>();
}

void SetUpLogging(const std::string& level, const std::string& format) {
  auto logger = std::make_shared<spdlog::logger>(
      "attention", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(MakeLogFormatter(format));
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogGrpc);
  google::protobuf::SetLogHandler(LogProtobuf);
}

void LogGrpcErrors() { grpc_error_level.store(spdlog::level::warn); }

}  // namespace attention
