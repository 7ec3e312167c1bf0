// SPDX-License-Identifier: Apache-2.0
// Calls an attention server from the command line:
//
//   attention-client modules upload block block.safetensors
//   attention-client forward block --random 2,50,256 --weights
//   attention-client bench block --random 1,64,256 --concurrency 8
#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "client/cpp/cli/cli.h"

namespace {

std::string_view Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// A terminal that has colours says so: https://github.com/termstandard/colors;
// a user who wants none says so: https://no-color.org
attention::HeatmapStyle StyleOfOutput() {
  using attention::HeatmapStyle;
  if (isatty(STDOUT_FILENO) == 0 || Environment("TERM") == "dumb") {
    return HeatmapStyle::kPlain;
  }
  const std::string_view depth = Environment("COLORTERM");
  const bool has_colors = depth == "truecolor" || depth == "24bit";
  return has_colors && Environment("NO_COLOR").empty() ? HeatmapStyle::kColor
                                                       : HeatmapStyle::kShades;
}

// The columns of a terminal; 0 when the file is none.
std::size_t ColumnsOf(int file) {
  winsize size = {};
  if (ioctl(file, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col > 0 ? size.ws_col : attention::Terminal().width;
}

// COLUMNS, else what the terminal says.
std::size_t WidthOfOutput() {
  const std::string_view columns = Environment("COLUMNS");
  std::size_t width = 0;
  std::from_chars(columns.data(), columns.data() + columns.size(), width);
  if (width == 0) width = ColumnsOf(STDOUT_FILENO);
  return width > 0 ? width : attention::Terminal().width;
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t columns = ColumnsOf(STDERR_FILENO);
  const int exit_code = attention::RunCli(
      argc, argv,
      {.out = std::cout,
       .terminal = {.style = StyleOfOutput(), .width = WidthOfOutput()},
       .progress = columns > 0 ? &std::cerr : nullptr,
       .progress_columns = columns},
      std::cerr);
  // A full disk, or a reader that is gone.
  std::cout.flush();
  if (std::cout || exit_code != attention::kExitOk) return exit_code;
  std::cerr << "error: the results cannot be written to stdout\n";
  return attention::kExitFailed;
}
