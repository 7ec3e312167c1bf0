// SPDX-License-Identifier: Apache-2.0
#include "server/host/descriptor_limit.h"

#include <sys/resource.h>

#include <algorithm>

namespace attention {
namespace {

constexpr std::size_t kDescriptorsPerConnection = 4;
constexpr std::size_t kMostConnections = 10'000;

}  // namespace

std::size_t RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
  return limit.rlim_cur;
}

std::size_t DefaultMaxConnections(std::size_t num_descriptors) {
  return std::clamp<std::size_t>(num_descriptors / kDescriptorsPerConnection, 1,
                                 kMostConnections);
}

}  // namespace attention
