// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>
#include <stdexcept>
#include <type_traits>

#include "absl/status/status.h"

namespace attention {

/// The status of what there was no memory for. Made before main begins, when
/// there is memory; copying it allocates nothing.
inline const absl::Status kMemoryIsExhausted =
    absl::ResourceExhaustedError("memory is exhausted");

/// Call `body`, which returns a Status or a StatusOr, where what it throws must
/// not leave: on a thread of ours, which would end the process, or in a
/// callback of gRPC's, which would leave the call open for ever.
/// \return what `body` returns, or RESOURCE_EXHAUSTED when it throws
///   std::bad_alloc or std::length_error.
template <typename Body>
[[nodiscard]] std::invoke_result_t<Body&> CatchBadAlloc(Body body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return kMemoryIsExhausted;
  } catch (const std::length_error&) {
    return kMemoryIsExhausted;
  }
}

}  // namespace attention
