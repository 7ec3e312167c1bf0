// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

namespace attention {

// All functions here are thread-safe, allocate nothing and take pointers of any
// alignment. Rows are `stride` elements apart. Wherever the processor has a
// fused multiply-add, the bits are the same whatever its vector width.

/// Compute 2^x for x <= 127: at most 2 ulp off, 1 for 0, exactly 0 below -125,
/// NaN for NaN. The scalar twin of what the functions below do, bit for bit.
[[nodiscard]] float Exp2(float x);
/// Compute e^x as 2^(x log2(e)), with the product rounded.
[[nodiscard]] float Exp(float x);

/// One block of attention scores and what SoftmaxBlock makes of it.
struct ScoreBlock {
  float* scores;        ///< [rows, stride], in: Q K^T; out: P
  std::int64_t stride;  ///< at least width
  std::int64_t rows;    ///< at least 0
  std::int64_t width;   ///< columns, a multiple of 16
  const std::int64_t*
      limits;                ///< [rows] in [0, width]: those behind are absent
  const float* mask;         ///< nullptr, or row i at mask + i * mask_stride
  std::int64_t mask_stride;  ///< 0 if all rows share one
  float scale;               ///< what scores are multiplied by
  float* maxima;             ///< [rows] out: max_j t_j; -inf if all are
  float* sums;               ///< [rows] out: sum_j P_j
  std::uint16_t* bf16;       ///< nullptr, or [rows, stride] out: P as bfloat16
};

/// Compute the unnormalised softmax of a block of scores.
///
///   t_j = scale s_j + mask_j,  m = max_j t_j,  P_j = e^(t_j - m)
///
/// where m = -inf counts as 0, so that P is 0 in a row that sees nothing. The
/// largest P of any other row is 1, however large its scores are. A row that
/// holds NaN or +inf has the sum NaN; its maximum ignores NaN. Without a mask
/// the bits are those of a mask of zeros.
///
/// Columns at and behind limits[i] are not read, neither of the scores nor of
/// the mask, and their P is 0. P is written for `width` columns of each row.
///
/// The order of the sum is fixed: 32 partial sums over j mod 32, then partial
/// sum k takes in k + 16, k + 8, k + 4, k + 2, k + 1. It is of the float P even
/// if P is wanted as bfloat16.
///
/// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax",
/// arXiv:1805.02867; FlashAttention-2, arXiv:2307.08691, 3.1.
void SoftmaxBlock(const ScoreBlock& block);

/// Rows of an attention output that are not normalised yet: O = sum_j P_j v_j
/// with the m and l = sum_j P_j of their softmax.
struct RunningRows {
  float* values;        ///< [rows, stride]: O
  std::int64_t stride;  ///< at least the number of columns
  float* maxima;        ///< [rows]: m
  float* sums;          ///< [rows]: l
};

/// Merge the rows of one more key block into `into`.
///
///   m' = max(m, m_b),  a = e^(m - m'),  b = e^(m_b - m')
///   l <- l a + l_b b,  O <- O a + O_b b
///
/// where m' = -inf counts as 0. `block` keeps what it holds.
/// Source: as SoftmaxBlock.
void MergeBlock(std::int64_t rows, std::int64_t columns,
                const RunningRows& into, const RunningRows& block);

/// Where FinishRows writes; exactly one of the two pointers is not null.
struct FinishedRows {
  float* floats;        ///< [rows, stride], may be the rows themselves
  std::uint16_t* bf16;  ///< [rows, stride] as bfloat16, nearest even
  std::int64_t stride;  ///< at least the number of columns
  bool masked_is_nan;   ///< what a row with l = 0 becomes: NaN, or O as it is
};

/// Normalise rows: O (1 / l), [rows, columns].
void FinishRows(std::int64_t rows, std::int64_t columns,
                const RunningRows& from, const FinishedRows& to);

/// Set to[j] to factor from[j], or add that (fused) with `accumulate`. `to`
/// may be `from`.
void ScaleRow(std::span<const float> from, float factor, bool accumulate,
              float* to);

}  // namespace attention
