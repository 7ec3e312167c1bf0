// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace attention::testing {

/// Counts the memory an executable allocates, and lets it run out: linking the
/// source file replaces every operator new and delete of the process.
/// Thread-safe.
struct AllocationCounter {
  /// Bytes asked for and not freed yet.
  [[nodiscard]] static std::size_t Current();
  /// The largest Current() since the last ResetPeak().
  [[nodiscard]] static std::size_t Peak();
  static void ResetPeak();

  /// Let this thread's next allocation of at least so many bytes fail.
  static void FailNextHere(std::size_t min_bytes = 1);
  /// Let one allocation of exactly so many bytes fail, whoever asks for it,
  /// once `num_spared` of them have succeeded. 0 bytes: none.
  static void FailOneOf(std::size_t num_bytes, std::size_t num_spared = 0);
};

}  // namespace attention::testing
