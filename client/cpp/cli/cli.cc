// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <string_view>
#include <vector>

#include "client/cpp/cli/usage.h"
#include "client/cpp/target.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

constexpr char kDescription[] =
    "Call an attention server: manage its modules, compute, check its health, "
    "measure it.";

constexpr char kFooter[] =
    "Examples:\n"
    "  attention-client modules list\n"
    "  attention-client forward self_attention --random 2,50,256 --weights\n"
    "  attention-client --target unix:/run/attention.sock health\n"
    "  attention-client bench self_attention --random 1,64,256 --rate 200\n"
    "  attention-client help COMMAND       (each has examples of its own)\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  the request failed, or a file could not be read or written\n"
    "  2  the command line is wrong; nothing was sent\n"
    "  3  an answer differs from what was expected (forward --expect, bench)\n"
    "  130, 143  bench was interrupted (SIGINT, SIGTERM) and reported until "
    "then\n";

// What the command line can do about an error.
std::string_view Hint(const absl::Status& status) {
  if (absl::IsDeadlineExceeded(status)) return "; use --timeout SECONDS";
  // A folder of the repository is never replaced.
  if (StatusText(status).ends_with("set replace")) return " by --replace";
  return "";
}

std::string ErrorText(const absl::Status& status) {
  return FormatText("error: {}: {}{}\n",
                    absl::StatusCodeToString(status.code()), StatusText(status),
                    Hint(status));
}

void AddGlobalOptions(CLI::App& app, CommandContext& context) {
  app.set_version_flag("--version", "attention-client " ATTENTION_VERSION);
  app.add_option("--target", context.target,
                 "Server to call: host:port, [IPv6]:port or unix:PATH")
      ->envname("ATTENTION_TARGET")
      ->type_name("ADDRESS")
      ->capture_default_str();
  app.add_option("--timeout", context.timeout_seconds,
                 "Seconds one call may take (default 60; health: 5)")
      ->type_name("SECONDS")
      ->check(InRange(0.001, 86400.0));
}

// The arguments as CLI11 takes them, the last one first. "help COMMAND" is
// "COMMAND --help".
std::vector<std::string> Arguments(int argc, const char* const* argv) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (!arguments.empty() && arguments.front() == "help") {
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
  std::ranges::reverse(arguments);
  return arguments;
}

void PrintHelp(const CLI::App& app, std::ostream& out) {
  out << app.help();
  if (app.get_subcommands().empty()) return;
  out << "Every command also takes --target ADDRESS and --timeout SECONDS; see "
         "attention-client --help\n";
}

// Parse the command line.
// \return the exit code when there is nothing left to do.
std::optional<int> Parse(CLI::App& app, std::vector<std::string> arguments,
                         std::ostream& out, std::ostream& err) {
  try {
    app.parse(std::move(arguments));
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    if (ExplainUnexpected(app).empty()) {
      PrintHelp(app, out);
      return kExitOk;
    }
    err << ExplainUsage(app, CLI::ExtrasError({}));
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << '\n';
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    err << ExplainUsage(app, error);
  }
  return kExitUsage;
}

}  // namespace

std::chrono::milliseconds CommandContext::Timeout(
    std::chrono::milliseconds default_timeout) const {
  if (!timeout_seconds) return default_timeout;
  return std::chrono::ceil<std::chrono::milliseconds>(
      std::chrono::duration<double>(*timeout_seconds));
}

absl::StatusOr<AttentionClient> CommandContext::Connect(
    std::chrono::milliseconds default_timeout) const {
  ClientOptions options;
  options.timeout = Timeout(default_timeout);
  return AttentionClient::Create(target, options);
}

int RunCli(int argc, const char* const* argv, CommandContext context,
           std::ostream& err) {
  CLI::App app(kDescription, "attention-client");
  Command selected;
  app.footer(kFooter);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.fallthrough();
  app.require_subcommand(1);
  AddGlobalOptions(app, context);
  AddModulesCommand(app, selected);
  AddForwardCommand(app, selected);
  AddHealthCommand(app, selected);
  AddBenchCommand(app, selected);
  CheckFlags(app);
  if (const auto done = Parse(app, Arguments(argc, argv), context.out, err)) {
    return *done;
  }
  if (const absl::Status status = CheckTarget(context.target); !status.ok()) {
    err << FormatText("error: {}\n", StatusText(status));
    return kExitUsage;
  }
  const absl::StatusOr<int> exit_code = selected(context);
  if (exit_code.ok()) return *exit_code;
  err << ErrorText(exit_code.status());
  return kExitFailed;
}

}  // namespace attention
