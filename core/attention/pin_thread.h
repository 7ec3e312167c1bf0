// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace attention {

/// Whether threads that compute stay each on a CPU of its own.
enum class Pinning : bool { kNone, kPinned };

/// Let the calling thread run on one CPU only: the `index`-th of those it may
/// run on now, counted around. Nothing changes where the system refuses.
void PinThisThread(std::size_t index);

}  // namespace attention
