// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "core/tensor/tensor.h"

namespace attention::testing {

/// Elements of a floating tensor as doubles.
[[nodiscard]] std::vector<double> ToDoubles(const TensorView& tensor);

/// Succeed if |got - want| <= atol + rtol |want| for every element, with the
/// defaults of torch.testing.assert_close for got's dtype; NaN equals NaN. A
/// failure shows index, got, want and error of the worst element.
[[nodiscard]] ::testing::AssertionResult IsClose(const TensorView& got,
                                                 const TensorView& want);

/// Succeed if dtype, shape and every bit agree.
[[nodiscard]] ::testing::AssertionResult IsIdentical(const TensorView& got,
                                                     const TensorView& want);

}  // namespace attention::testing
