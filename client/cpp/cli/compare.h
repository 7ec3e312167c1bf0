// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/attention/weights.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Two numbers agree when |got - want| <= absolute + relative * |want|.
struct Tolerance {
  double relative = 0.0;
  double absolute = 0.0;
};

/// Return torch.testing.assert_close's default for a dtype; integers and bool
/// must be equal.
/// Source: https://pytorch.org/docs/2.6/testing.html
[[nodiscard]] Tolerance DefaultTolerance(DataType dtype);

/// What comparing two tensors found.
struct Comparison {
  std::size_t num_compared = 0;
  std::size_t num_different = 0;    ///< beyond the tolerance
  double largest_difference = 0.0;  ///< |got - want|; inf beside NaN or inf
  std::size_t largest_index = 0;    ///< flat index of that difference
  double largest_got = 0.0;
  double largest_want = 0.0;
  Tolerance tolerance;

  [[nodiscard]] bool agrees() const { return num_different == 0; }
};

/// Compare element by element; NaN equals NaN, an infinity itself. The dtypes
/// may differ: the tolerance is that of `got`'s.
/// \return INVALID_ARGUMENT when the shapes differ.
[[nodiscard]] absl::StatusOr<Comparison> Compare(const TensorView& got,
                                                 const TensorView& want);

/// Compare the elements at flat indices `positions` (int64) with `values`.
/// \return INVALID_ARGUMENT when positions and values differ in number, or a
///   position lies outside `got`.
[[nodiscard]] absl::StatusOr<Comparison> CompareSampled(
    const TensorView& got, const TensorView& positions,
    const TensorView& values);

/// Compare with what a file expects under `name`: the whole tensor, or, as
/// NAME.positions and NAME.values, some of its elements.
/// \return unset when the file says nothing of `name`; INVALID_ARGUMENT as
///   above.
[[nodiscard]] absl::StatusOr<std::optional<Comparison>> CompareWithExpected(
    std::string_view name, const TensorView& got, const NamedTensors& expected);

/// Return whether two tensors have the same dtype, shape and bits.
[[nodiscard]] bool AreBitIdentical(const TensorView& a, const TensorView& b);

/// Describe a comparison in one line.
[[nodiscard]] std::string ComparisonToString(std::string_view name,
                                             const Shape& shape,
                                             const Comparison& comparison);

}  // namespace attention
