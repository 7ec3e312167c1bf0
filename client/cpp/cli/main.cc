// SPDX-License-Identifier: Apache-2.0
// Calls an attention server from the command line:
//
//   attention-client modules upload block block.safetensors
//   attention-client forward block --random 2,50,256 --weights
//   attention-client bench block --random 1,64,256 --concurrency 8
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

#include "client/cpp/cli/cli.h"

namespace {

// A terminal that has colours says so: https://github.com/termstandard/colors
attention::HeatmapStyle StyleOfOutput() {
  using attention::HeatmapStyle;
  if (isatty(STDOUT_FILENO) == 0) return HeatmapStyle::kPlain;
  const char* const colors = std::getenv("COLORTERM");
  const std::string_view depth = colors == nullptr ? "" : colors;
  const bool wanted = std::getenv("NO_COLOR") == nullptr;
  return wanted && (depth == "truecolor" || depth == "24bit")
             ? HeatmapStyle::kColor
             : HeatmapStyle::kShades;
}

// The columns of the terminal at stderr; 0 when there is none.
std::size_t ColumnsOfErrors() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  constexpr std::size_t kUnknown = 80;
  return size.ws_col > 0 ? size.ws_col : kUnknown;
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t columns = ColumnsOfErrors();
  const int exit_code =
      attention::RunCli(argc, argv,
                        {.out = std::cout,
                         .heatmap_style = StyleOfOutput(),
                         .progress = columns > 0 ? &std::cerr : nullptr,
                         .progress_columns = columns},
                        std::cerr);
  // A full disk, or a reader that is gone.
  std::cout.flush();
  if (std::cout || exit_code != attention::kExitOk) return exit_code;
  std::cerr << "error: the results cannot be written to stdout\n";
  return attention::kExitFailed;
}
