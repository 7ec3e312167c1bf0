// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace attention::testing {

/// Counts the memory an executable allocates: linking the source file replaces
/// every operator new and delete of the process. Thread-safe.
struct AllocationCounter {
  /// Bytes asked for and not freed yet.
  [[nodiscard]] static std::size_t Current();
  /// The largest Current() since the last ResetPeak().
  [[nodiscard]] static std::size_t Peak();
  static void ResetPeak();
};

}  // namespace attention::testing
