// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>
#include <stdexcept>
#include <type_traits>

#include "absl/status/status.h"

namespace attention {

/// The status of what there was no memory for. Only the first call allocates,
/// and copying it does not. Thread-safe.
inline const absl::Status& MemoryIsExhausted() {
  static const absl::Status status =
      absl::ResourceExhaustedError("memory is exhausted");
  return status;
}

/// Call `body`, which returns a Status or a StatusOr, where what it throws must
/// not leave: on a thread of ours, which would end the process, or in a
/// callback of gRPC's, which would leave the call open for ever.
/// \return what `body` returns, or RESOURCE_EXHAUSTED when it throws
///   std::bad_alloc or std::length_error.
template <typename Body>
[[nodiscard]] std::invoke_result_t<Body&> CatchBadAlloc(Body body) {
  const absl::Status& exhausted = MemoryIsExhausted();
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return exhausted;
  } catch (const std::length_error&) {
    return exhausted;
  }
}

}  // namespace attention
