// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace attention {

// What becomes of a patch of a projection's products: a bias, an activation,
// and a layout. All functions are thread-safe, allocate nothing, take pointers
// of any alignment, and write the elements they name and no others. bfloat16 is
// rounded to nearest even, and NaN stays NaN.

/// A patch of up to 64 x 64 floats, and a bias that is added to each row.
struct Patch {
  const float* values;   ///< [rows, stride]
  std::int64_t stride;   ///< at least columns, or 0: all rows are one
  std::int64_t rows;     ///< 0 to 64
  std::int64_t columns;  ///< 0 to 64
  const float* bias;     ///< [columns], or nullptr for none
};

/// What is applied to each element once the bias is added.
enum class Epilogue : std::uint8_t {
  kNone,  ///< nothing
  kRelu,  ///< max(x, 0); NaN stays NaN
  kGelu,  ///< 0.5 x (1 + erf(x / sqrt 2)), at most 4e-7 max(1, |x|) off
};

/// Store a patch row by row: to[r * to_stride + c], as float or as bfloat16.
void StorePatch(const Patch& patch, Epilogue epilogue, float* to,
                std::int64_t to_stride);
void StorePatch(const Patch& patch, Epilogue epilogue, std::uint16_t* bf16,
                std::int64_t to_stride);

/// Store a patch column by column: to[c * to_stride + r].
void StoreTransposed(const Patch& patch, float* to, std::int64_t to_stride);

/// Store a patch as bfloat16, pairs of columns side by side. Column c of the
/// patch is column k = first_column + c of a matrix, row r of which goes to
///
///   to[(k / 2) * 2 * to_stride + 2 * r + k % 2]
///
/// which is how matrix units take a transposed right operand ("VNNI").
void StoreTransposedPairs(const Patch& patch, std::int64_t first_column,
                          std::uint16_t* to, std::int64_t to_stride);

/// Store a patch as bfloat16, pairs of rows side by side. Row r of the patch is
/// row k = first_row + r of a matrix, column c of which goes to
///
///   to[(k / 2) * 2 * to_stride + 2 * c + k % 2]
///
/// which is how matrix units take a right operand ("VNNI").
void StoreRowPairs(const Patch& patch, std::int64_t first_row,
                   std::uint16_t* to, std::int64_t to_stride);

/// Return one behind the last row that has an element which, with the bias, is
/// NaN, infinite, or as large as rounding to bfloat16 makes infinite; 0: none.
[[nodiscard]] std::int64_t NonFiniteEnd(const Patch& patch);

}  // namespace attention
