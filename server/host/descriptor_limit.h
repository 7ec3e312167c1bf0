// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace attention {

/// Let the process open as many descriptors as the system permits it:
/// RLIMIT_NOFILE's soft limit becomes the hard one.
/// \return the limit now in force.
std::size_t RaiseDescriptorLimit();

/// Return how many connections a process with so many descriptors takes unless
/// told: each needs two, and as many remain for everything else; between 1 and
/// 10,000.
[[nodiscard]] std::size_t DefaultMaxConnections(std::size_t num_descriptors);

}  // namespace attention
