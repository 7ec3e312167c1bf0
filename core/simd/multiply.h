// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace attention {

// core/simd: loops by hand for the processor at hand, over plain pointers:
// multiplication, softmax, packing, conversion. The only room that sees
// Highway, and it uses no other; what order sums are taken in is decided here.

/// A product of float32 matrices, C = A B + bias or C += A B + bias.
struct MatrixProduct {
  std::int64_t rows;     ///< M, at least 0
  std::int64_t columns;  ///< N, a multiple of 16
  std::int64_t depth;    ///< K, at least 0
  const float* a;        ///< [rows, lda]
  std::int64_t lda;
  const float* b;  ///< [depth, ldb]
  std::int64_t ldb;
  float* c;  ///< [rows, ldc]
  std::int64_t ldc;
  /// Rows of B that are ldb apart; then the next so many, run_step elements
  /// behind the first of those. 0: all of them.
  std::int64_t run = 0;
  std::int64_t run_step = 0;
  /// Columns of B lie in strips of MultiplyStrip() each, so many elements
  /// apart. 0: all of them side by side.
  std::int64_t strip_step = 0;
  bool accumulate = false;      ///< begin with the elements of C, not with 0
  const float* bias = nullptr;  ///< [columns] or nullptr: none
};

/// Multiply matrices. Each element of C is
///
///   c_ij = a_i0 b_0j, a_i1 b_1j, ... added one by one in this order, each by a
///          fused multiply-add; then + bias_j
///
/// whatever the sizes: so its bits depend on a row of A and a column of B
/// alone, are the same on every processor with a fused multiply-add, and stay
/// the same where K is cut and the parts are accumulated, or, but for the sign
/// of a zero, where products of zero follow. Thread-safe; allocates nothing;
/// takes pointers of any alignment; C must not overlap anything else. As fast
/// as can be while B fits into a core's second-level cache.
///
/// Source: the register blocking of Goto and van de Geijn 2008, "Anatomy of
/// High-Performance Matrix Multiplication".
void Multiply(const MatrixProduct& product);

/// Columns of B that Multiply takes at a time on this processor, 16 or 64: it
/// is fastest where they lie side by side, row behind row.
[[nodiscard]] std::int64_t MultiplyStrip();

/// The instructions Multiply and its neighbours use on this processor: "SSE2",
/// "AVX2" or "AVX-512".
[[nodiscard]] std::string_view SimdInstructions();

/// Whether this processor has the fused multiply-add that Multiply promises;
/// else it rounds products as well, and is slow.
[[nodiscard]] bool MultiplyFuses();

}  // namespace attention
