// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "client/cpp/cli/cli.h"

namespace attention {

/// What a run of attention-client left behind.
struct CliResult {
  int exit_code = 0;
  std::string out;
  std::string err;
};

/// Run attention-client within this process against `target`.
inline CliResult RunClient(const std::string& target,
                           const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"attention-client"};
  for (const std::string& argument : arguments)
    argv.push_back(argument.c_str());
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = RunCli(static_cast<int>(argv.size()), argv.data(),
                               {.out = out, .target = target}, err);
  return {exit_code, out.str(), err.str()};
}

}  // namespace attention
