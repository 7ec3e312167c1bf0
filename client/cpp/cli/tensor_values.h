// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"

namespace attention {

/// Read `count` elements of any dtype from flat index `first` on as doubles;
/// bool as 0 and 1. int64 beyond 2^53 is rounded.
[[nodiscard]] std::vector<double> ReadValues(const TensorView& tensor,
                                             std::size_t first,
                                             std::size_t count);

/// Read all elements.
[[nodiscard]] std::vector<double> ReadValues(const TensorView& tensor);

/// Write the position of a flat index in NumPy's notation: "[1, 0, 3]".
[[nodiscard]] std::string PositionToString(const Shape& shape,
                                           std::size_t flat_index);

}  // namespace attention
