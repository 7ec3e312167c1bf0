// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>

#include "client/cpp/cli/cli.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

constexpr char kFooter[] =
    "Prints SERVING, NOT_SERVING or UNKNOWN. The exit code is 0 only when\n"
    "SERVING, so that a container can use it as its health check.\n"
    "\n"
    "Examples:\n"
    "  attention-client health\n"
    "  attention-client health --module self_attention --timeout 1\n";

absl::StatusOr<int> CheckHealth(const CommandContext& context,
                                const std::string& module) {
  constexpr std::chrono::seconds kTimeout(5);
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client,
                             context.Connect(kTimeout));
  const absl::StatusOr<HealthState> state = client.Health(module);
  if (absl::IsNotFound(state.status())) {
    return absl::NotFoundError(
        FormatText("the server knows no module '{}'", module));
  }
  ATTENTION_RETURN_IF_ERROR(state.status());
  switch (*state) {
    case HealthState::kServing:
      context.out << "SERVING\n";
      return kExitOk;
    case HealthState::kNotServing:
      context.out << "NOT_SERVING\n";
      return kExitFailed;
    case HealthState::kUnknown:
      break;
  }
  context.out << "UNKNOWN\n";
  return kExitFailed;
}

}  // namespace

void AddHealthCommand(CLI::App& app, Command& selected) {
  const auto module = std::make_shared<std::string>();
  CLI::App& command = *app.add_subcommand(
      "health", "Ask whether the server, or one module, is serving");
  command
      .add_option("--module", *module,
                  "Ask for this module instead of the whole server")
      ->type_name("NAME");
  command.footer(kFooter);
  command.callback([module, &selected] {
    selected = [module](const CommandContext& context) {
      return CheckHealth(context, *module);
    };
  });
}

}  // namespace attention
