// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/cli.h"

#include <CLI/CLI.hpp>
#include <format>
#include <ostream>

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
    "  attention-client COMMAND --help     (each has examples of its own)\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  the request failed, or a file could not be read or written\n"
    "  2  the command line is wrong; nothing was sent\n"
    "  3  an answer differs from what was expected (forward --expect, bench)\n";

std::string ErrorText(const absl::Status& status) {
  return std::format("error: {}: {}\n", absl::StatusCodeToString(status.code()),
                     StatusText(status));
}

void AddGlobalOptions(CLI::App& app, CommandContext& context) {
  app.add_option("--target", context.target,
                 "Server to call: host:port or unix:PATH")
      ->envname("ATTENTION_TARGET")
      ->capture_default_str();
  app.add_option("--timeout", context.timeout_seconds,
                 "Seconds one call may take (default 60; health: 5)")
      ->check(CLI::Range(0.001, 86400.0));
}

}  // namespace

absl::StatusOr<AttentionClient> CommandContext::Connect(
    std::chrono::milliseconds default_timeout) const {
  ClientOptions options;
  options.timeout = default_timeout;
  if (timeout_seconds) {
    options.timeout = std::chrono::ceil<std::chrono::milliseconds>(
        std::chrono::duration<double>(*timeout_seconds));
  }
  return AttentionClient::Create(target, options);
}

int RunCli(int argc, const char* const* argv, CommandContext context,
           std::ostream& err) {
  CLI::App app(kDescription, "attention-client");
  Command selected;
  app.footer(kFooter);
  app.fallthrough();
  app.require_subcommand(1);
  AddGlobalOptions(app, context);
  AddModulesCommand(app, selected);
  AddForwardCommand(app, selected);
  AddHealthCommand(app, selected);
  AddBenchCommand(app, selected);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, context.out, err) == 0 ? kExitOk : kExitUsage;
  }
  const absl::StatusOr<int> exit_code = selected(context);
  if (exit_code.ok()) return *exit_code;
  err << ErrorText(exit_code.status());
  return kExitFailed;
}

}  // namespace attention
