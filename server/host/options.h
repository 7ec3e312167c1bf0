// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/module/compute_choice.h"
#include "core/serving/task_lines.h"
#include "core/serving/time_limits.h"

namespace attention {

/// What the command line and the environment set; the server's whole
/// configuration. `attention-server --help` describes each.
struct ServerOptions {
  std::vector<std::string> listen = {"127.0.0.1:50051"};
  std::string modules;  ///< directory; empty: no repository
  std::vector<std::string> modules_link_roots;
  std::vector<std::string> load;  ///< names, and "all"
  std::size_t threads = 1;        ///< ParseOptions' default: UsableCpus()
  bool pin_threads = false;       ///< each to a CPU of its own
  PathChoice compute_path = PathChoice::kAuto;
  BatchLimits batch;
  TimeLimits time;
  std::size_t max_message_bytes = std::size_t{256} << 20;
  std::size_t max_module_bytes = std::size_t{4} << 30;
  /// ParseOptions' default: half of UsableMemory().
  std::size_t max_loaded_bytes = std::size_t{1} << 50;
  std::size_t max_queue_bytes = std::size_t{1} << 30;
  /// ParseOptions' default: DefaultMaxConnections().
  std::size_t max_connections = 1000;
  std::string log_level = "info";
  std::string log_format = "text";
  std::optional<std::chrono::milliseconds> log_slow;  ///< unset: none is
  std::string metrics_listen;  ///< as MetricsAddress; empty: nowhere
  std::chrono::seconds drain_grace{30};
};

/// A reason to exit before serving: help or version asked for (code 0, text
/// for stdout), or a bad option (code 2, one line for stderr).
struct EarlyExit {
  int code = 0;
  std::string text;
};

/// Exit codes of attention-server.
inline constexpr int kExitRuntimeError = 1;
inline constexpr int kExitUsageError = 2;

/// Read options. A flag goes before its environment variable (ATTENTION_ and
/// the flag's name in capitals; lists separated by commas), which goes before
/// the default.
/// \param num_descriptors that the process may open.
[[nodiscard]] std::variant<ServerOptions, EarlyExit> ParseOptions(
    int argc, const char* const* argv, std::size_t num_descriptors);

}  // namespace attention
