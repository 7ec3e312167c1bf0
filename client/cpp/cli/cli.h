// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/cpp/attention_client.h"
#include "client/cpp/cli/heatmap_terminal.h"

namespace CLI {
class App;
}  // namespace CLI

namespace attention {

/// Exit codes of attention-client.
inline constexpr int kExitOk = 0;
/// The request failed, or a file could not be read or written.
inline constexpr int kExitFailed = 1;
/// The command line is wrong; nothing was sent.
inline constexpr int kExitUsage = 2;
/// An answer is not the expected one.
inline constexpr int kExitDiffers = 3;
/// A run was interrupted: this plus the signal's number, as shells report it.
inline constexpr int kExitSignalBase = 128;

/// Where a command writes, and what the global options say.
struct CommandContext {
  std::ostream& out;
  Terminal terminal = {};
  /// A terminal on which one line may be rewritten while a run goes on, and
  /// its width; null: there is none.
  std::ostream* progress = nullptr;
  std::size_t progress_columns = 80;
  std::string target = "127.0.0.1:50051";
  std::optional<double> timeout_seconds = std::nullopt;

  /// How long a call may take: as --timeout says, or `default_timeout`.
  [[nodiscard]] std::chrono::milliseconds Timeout(
      std::chrono::milliseconds default_timeout =
          std::chrono::seconds(60)) const;
  /// Connect to the target; `default_timeout` applies without --timeout.
  [[nodiscard]] absl::StatusOr<AttentionClient> Connect(
      std::chrono::milliseconds default_timeout =
          std::chrono::seconds(60)) const;
};

/// What a subcommand does once the command line is parsed; returns the exit
/// code, or why the request failed.
using Command = std::function<absl::StatusOr<int>(const CommandContext&)>;

/// Declare the subcommands; parsing one sets `selected`, which outlives `app`.
void AddModulesCommand(CLI::App& app, Command& selected);
void AddForwardCommand(CLI::App& app, Command& selected);
void AddHealthCommand(CLI::App& app, Command& selected);
void AddBenchCommand(CLI::App& app, Command& selected);

/// Run attention-client: results go to `context.out`, errors to `err`.
/// \return the exit code.
[[nodiscard]] int RunCli(int argc, const char* const* argv,
                         CommandContext context, std::ostream& err);

}  // namespace attention
