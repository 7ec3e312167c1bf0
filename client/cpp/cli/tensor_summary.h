// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "core/tensor/tensor.h"

namespace attention {

/// Describe a tensor in two lines: name, dtype and shape; its first values and
/// the mean, least and greatest of the values that are not NaN.
[[nodiscard]] std::string SummarizeTensor(std::string_view name,
                                          const TensorView& tensor);

}  // namespace attention
