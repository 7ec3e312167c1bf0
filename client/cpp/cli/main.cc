// SPDX-License-Identifier: Apache-2.0
// Calls an attention server from the command line:
//
//   attention-client modules upload block block.safetensors
//   attention-client forward block --random 2,50,256 --weights
//   attention-client bench block --random 1,64,256 --concurrency 8
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

}  // namespace

int main(int argc, char** argv) {
  return attention::RunCli(argc, argv,
                           {.out = std::cout, .heatmap_style = StyleOfOutput()},
                           std::cerr);
}
