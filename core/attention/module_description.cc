// SPDX-License-Identifier: Apache-2.0
#include "core/attention/module_description.h"

namespace attention {

std::string_view ModuleDescription::state_name() const {
  switch (state) {
    case State::kUnknown:
      return "unknown";
    case State::kAvailable:
      return "available";
    case State::kLoading:
      return "loading";
    case State::kReady:
      return "ready";
    case State::kUnloading:
      return "unloading";
    case State::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace attention
