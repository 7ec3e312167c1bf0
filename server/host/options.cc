// SPDX-License-Identifier: Apache-2.0
#include "server/host/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "core/module/compute_choice.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"
#include "core/usage/usage_text.h"
#include "server/host/cpu_count.h"
#include "server/host/descriptor_limit.h"
#include "server/host/memory_size.h"
#include "server/metrics/metrics_address.h"
#include "server/net/listen_address.h"

namespace attention {
namespace {

constexpr std::int64_t kMaxThreads = 1024;
// gRPC counts message lengths in an int.
constexpr std::uint64_t kMaxMessageBytes = (std::uint64_t{1} << 31) - 1;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 50;
constexpr std::int64_t kMaxGraceSeconds = 86'400;
constexpr std::int64_t kMaxBatchTokens = std::int64_t{1} << 24U;
constexpr std::int64_t kMaxBatchDelay = 1'000'000;
constexpr std::int64_t kMaxConnections = 1'000'000;
constexpr std::int64_t kMaxMilliseconds = 86'400'000;

// The name of the flag's environment variable: --max-queue-bytes is
// ATTENTION_MAX_QUEUE_BYTES.
std::string EnvironmentName(const std::string& flag) {
  std::string name = "ATTENTION_";
  for (const char c : flag.substr(2)) {
    name +=
        c == '-'
            ? '_'
            : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

std::string CheckListenAddress(const std::string& address) {
  return std::string(StatusText(ValidateListenAddress(address)));
}

std::string CheckMetricsAddress(const std::string& address) {
  return std::string(StatusText(MetricsAddress(address).status()));
}

// Checks of an option's value; see CLI::Option::check.
using ValueCheck = std::function<std::string(const std::string&)>;

ValueCheck InRange(std::int64_t least, std::int64_t most) {
  return [least, most](const std::string& word) {
    return CheckNumber(word, least, most);
  };
}

ValueCheck AnyOf(std::vector<std::string> words) {
  return [words = std::move(words)](const std::string& word) {
    return CheckChoice(word, words);
  };
}

template <typename T>
CLI::Option* AddFlag(CLI::App& app, const std::string& flag, T& value,
                     const std::string& help) {
  return app.add_option(flag, value, help)
      ->envname(EnvironmentName(flag))
      ->capture_default_str();
}

// A whole number of the duration's units.
template <typename Duration>
CLI::Option* AddDuration(CLI::App& app, const std::string& flag,
                         Duration& value, const std::string& help) {
  return app
      .add_option_function<std::int64_t>(
          flag, [&value](std::int64_t count) { value = Duration(count); }, help)
      ->envname(EnvironmentName(flag))
      ->default_str(std::to_string(value.count()));
}

// Read a number of bytes with or without a unit, such as 512MiB or 2 g; units
// are powers of 1,024. Nothing when the text is anything else, or too large.
std::optional<std::uint64_t> ParseBytes(std::string_view text) {
  std::uint64_t bytes = 0;
  const char* const end = text.data() + text.size();
  const auto [parsed, error] =
      std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc()) return std::nullopt;
  std::string unit;
  for (const char* c = parsed; c != end; ++c) {
    if (*c != ' ' || !unit.empty()) {
      unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
    }
  }
  if (unit.empty() || unit == "b") return bytes;
  constexpr std::string_view kPrefixes = "kmgtpe";
  const std::size_t power = kPrefixes.find(unit[0]);
  const std::string_view rest = std::string_view(unit).substr(1);
  if (power == std::string_view::npos ||
      !(rest.empty() || rest == "b" || rest == "i" || rest == "ib")) {
    return std::nullopt;
  }
  const std::size_t shift = 10 * (power + 1);
  if (bytes << shift >> shift != bytes) return std::nullopt;
  return bytes << shift;
}

void AddSize(CLI::App& app, const std::string& flag, std::size_t& value,
             const std::string& help) {
  const std::uint64_t most =
      flag == "--max-message-bytes" ? kMaxMessageBytes : kMaxBytes;
  AddFlag(app, flag, value, help)
      ->type_name("BYTES")
      ->transform([most](const std::string& text) {
        const auto bytes = ParseBytes(text);
        if (bytes && *bytes >= 1 && *bytes <= most) {
          return std::to_string(*bytes);
        }
        throw CLI::ValidationError(
            FormatText("got '{}', expected bytes from 1 to {}, such as 512MiB",
                       text, most));
      });
}

const std::map<std::string, PathChoice, std::less<>> kComputePaths = {
    {"auto", PathChoice::kAuto},
    {"fused", PathChoice::kFused},
    {"primitives", PathChoice::kPrimitives}};

void AddModuleOptions(CLI::App& app, ServerOptions& options) {
  AddFlag(app, "--modules", options.modules,
          "Directory of the module repository")
      ->type_name("DIR");
  AddFlag(app, "--modules-link-root", options.modules_link_roots,
          "Directory that symbolic links in the repository may lead into, "
          "beside the repository itself. Repeatable")
      ->type_name("DIR")
      ->default_str("")
      ->delimiter(',');
  AddFlag(app, "--load", options.load,
          "Modules of the repository to serve from the start: names, which "
          "must load, else the server exits, or 'all', of which those that "
          "can be loaded are served, be it none, and the others reported, or "
          "both: all,NAME")
      ->type_name("NAME")
      ->default_str("")
      ->delimiter(',');
}

void AddLimits(CLI::App& app, ServerOptions& options) {
  AddSize(app, "--max-message-bytes", options.max_message_bytes,
          "Longest request and answer, such as 256MiB; at most 2147483647");
  AddSize(app, "--max-module-bytes", options.max_module_bytes,
          "Longest module file, loaded or uploaded; also the most that all "
          "uploads under way may hold");
  AddSize(app, "--max-loaded-bytes", options.max_loaded_bytes,
          "Memory for all modules served, a replaced one counting until its "
          "last request is done; by default half of the memory usable");
  AddSize(app, "--max-queue-bytes", options.max_queue_bytes,
          "Memory for requests and answers in flight, scratch included; a "
          "request counts twice while it is parsed");
  AddFlag(app, "--max-connections", options.max_connections,
          "Connections open at one time, two descriptors each; one more is "
          "closed at once. By default a quarter of the descriptors permitted "
          "(RLIMIT_NOFILE, hard), at most 10000")
      ->type_name("N")
      ->check(InRange(1, kMaxConnections));
}

void AddComputeOptions(CLI::App& app, ServerOptions& options) {
  AddFlag(app, "--threads", options.threads,
          "Threads that compute; by default the cores usable")
      ->type_name("N")
      ->check(InRange(1, kMaxThreads));
  app.add_flag(
         "--pin-threads", options.pin_threads,
         "Keep each compute thread on a CPU of its own; for machines that "
         "serve nothing else")
      ->envname(EnvironmentName("--pin-threads"))
      ->check(CheckSwitch);
  app.add_option_function<std::string>(
         "--compute-path",
         [&options](const std::string& name) {
           options.compute_path = kComputePaths.find(name)->second;
         },
         "What computes: 'fused' attention, oneDNN's matmul and softmax "
         "'primitives', or 'auto': fused where the machine has AVX2")
      ->envname(EnvironmentName("--compute-path"))
      ->type_name("NAME")
      ->default_str("auto")
      ->check(AnyOf({"auto", "fused", "primitives"}));
}

void AddBatchOptions(CLI::App& app, BatchLimits& limits) {
  AddFlag(
      app, "--max-batch-tokens", limits.max_tokens,
      "Tokens of requests to one module that are computed together at most; "
      "a request of more is computed alone, in turns with smaller ones")
      ->type_name("N")
      ->check(InRange(1, kMaxBatchTokens));
  AddDuration(
      app, "--max-batch-delay", limits.max_delay,
      "Microseconds that a request may wait for others to be computed "
      "with; 0: none waits, and those that are queued are computed together")
      ->type_name("N")
      ->check(InRange(0, kMaxBatchDelay));
}

void AddTimeLimits(CLI::App& app, TimeLimits& limits) {
  AddDuration(app, "--max-queue-time", limits.max_queue_time,
              "Milliseconds that a request may be predicted to wait for its "
              "turn, else it is refused at once; so is one that would miss its "
              "deadline")
      ->type_name("MS")
      ->check(InRange(1, kMaxMilliseconds));
  AddDuration(app, "--max-request-time", limits.max_request_time,
              "Milliseconds that computing one request may be predicted to "
              "take, else it is refused")
      ->type_name("MS")
      ->check(InRange(1, kMaxMilliseconds));
}

void AddWatchOptions(CLI::App& app, ServerOptions& options) {
  AddFlag(app, "--log-level", options.log_level, "Least severity logged")
      ->type_name("LEVEL")
      ->check(AnyOf({"debug", "info", "warning", "error", "off"}));
  AddFlag(app, "--log-format", options.log_format, "Format of the log")
      ->type_name("FORMAT")
      ->check(AnyOf({"text", "json"}));
  app.add_option_function<std::int64_t>(
         "--log-slow",
         [&options](std::int64_t slow) {
           options.log_slow = std::chrono::milliseconds(slow);
         },
         "Log, at info and at most 10 a second, each request that takes so "
         "many milliseconds or fails; 0: each request")
      ->envname(EnvironmentName("--log-slow"))
      ->type_name("MILLISECONDS")
      ->check(InRange(0, kMaxMilliseconds));
  AddFlag(app, "--metrics-listen", options.metrics_listen,
          "Address to serve metrics on, for Prometheus at /metrics: HOST:PORT, "
          "or PORT on loopback (0: any free one, logged); by default none")
      ->type_name("ADDRESS")
      ->check(CheckMetricsAddress);
}

void AddOptions(CLI::App& app, ServerOptions& options) {
  AddFlag(app, "--listen", options.listen,
          "Address to listen on: HOST:PORT (port 0: any free one, logged) or "
          "unix:PATH (mode 0600). Repeatable")
      ->type_name("ADDRESS")
      ->default_str(options.listen.front())
      ->delimiter(',')
      ->check(CheckListenAddress);
  AddModuleOptions(app, options);
  AddComputeOptions(app, options);
  AddBatchOptions(app, options.batch);
  AddTimeLimits(app, options.time);
  AddLimits(app, options);
  AddWatchOptions(app, options);
  AddDuration(app, "--drain-grace", options.drain_grace,
              "Seconds that requests in flight have to finish after SIGTERM")
      ->type_name("SECONDS")
      ->check(InRange(0, kMaxGraceSeconds));
}

// CLI11 ignores a variable whose value does not pass the checks; take it over
// all the same, so that the checks fail aloud.
void TakeInvalidEnvironment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->count() > 0 || option->get_envname().empty()) continue;
    // Nobody changes the environment: there are no other threads yet.
    // NOLINTNEXTLINE(concurrency-mt-unsafe)
    const char* value = std::getenv(option->get_envname().c_str());
    if (value == nullptr || *value == '\0') continue;
    try {
      option->add_result(std::string(value));
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      // The text begins with the name of the flag, which nobody gave.
      std::string text = error.what();
      const std::string name = option->get_name() + ": ";
      if (text.starts_with(name)) text.erase(0, name.size());
      throw CLI::ValidationError(option->get_envname(), text);
    }
  }
}

// Explain, in one line, why the command line did not parse.
std::string Explain(const CLI::App& app, const CLI::ParseError& error) {
  std::string text = error.what();
  if (const std::vector<std::string> unexpected = app.remaining();
      !unexpected.empty()) {
    const std::string name =
        unexpected.front().substr(0, unexpected.front().find('='));
    std::vector<std::string> names;
    for (const CLI::Option* const option : app.get_options()) {
      names.push_back(option->get_name());
    }
    text =
        name.starts_with('-')
            ? FormatText("unknown option '{}'{}", name, DidYouMean(name, names))
            : FormatText("unexpected argument '{}'", unexpected.front());
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    // The parser's text begins with the option's name.
    const std::string name = text.substr(0, text.find(':'));
    const CLI::Option* const option = app.get_option_no_throw(name);
    text = option != nullptr && option->count() > 1
               ? FormatText("{} is given {} times, expected once", name,
                            option->count())
               : name + " needs a value";
  }
  std::ranges::replace(text, '\n', ' ');
  return text;
}

// The version, and what modules are computed with by default on this machine.
std::string VersionText() {
  std::string text = "attention-server " ATTENTION_VERSION;
  for (const DataType asked : {DataType::kFloat32, DataType::kBFloat16}) {
    const auto what = DescribeComputeChoice(PathChoice::kAuto, asked);
    text += FormatText("\n{} modules: {}", DataTypeName(asked), *what);
  }
  return text;
}

}  // namespace

std::variant<ServerOptions, EarlyExit> ParseOptions(
    int argc, const char* const* argv, std::size_t num_descriptors) {
  ServerOptions options;
  options.threads = UsableCpus();
  options.max_loaded_bytes = UsableMemory() / 2;
  options.max_connections = DefaultMaxConnections(num_descriptors);
  CLI::App app("Serve multi-head attention modules over gRPC.",
               "attention-server");
  app.set_version_flag("--version", VersionText);
  app.footer(
      "Every option can also be set by the environment variable named beside "
      "it; an option goes before its variable.\n"
      "Exit codes: 0 after SIGTERM or SIGINT, 1 cannot serve, 2 bad option.\n"
      "Health: SERVING once the modules to load have been tried; each module "
      "under its own name, NOT_SERVING when 'all' could not load it.\n"
      "Example: attention-server --modules modules --load all "
      "--listen 127.0.0.1:50051");
  AddOptions(app, options);
  try {
    app.parse(argc, argv);
    TakeInvalidEnvironment(app);
    if (!options.load.empty() && options.modules.empty()) {
      throw CLI::RequiresError("--load", "--modules");
    }
    if (!options.modules_link_roots.empty() && options.modules.empty()) {
      throw CLI::RequiresError("--modules-link-root", "--modules");
    }
  } catch (const CLI::CallForHelp&) {
    return EarlyExit{.code = 0, .text = app.help()};
  } catch (const CLI::CallForVersion& version) {
    return EarlyExit{.code = 0, .text = std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    return EarlyExit{.code = kExitUsageError,
                     .text = FormatText("attention-server: {}; see --help\n",
                                        Explain(app, error))};
  }
  return options;
}

}  // namespace attention
