// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/tensor/tensor.h"

namespace attention {

/// Read element `index` of an int32 or int64 tensor.
[[nodiscard]] inline std::int64_t LoadInteger(const TensorView& tensor,
                                              std::int64_t index) {
  const auto place = static_cast<std::size_t>(index);
  if (tensor.dtype == DataType::kInt32) {
    std::int32_t value = 0;
    std::memcpy(&value, tensor.data + place * sizeof value, sizeof value);
    return value;
  }
  std::int64_t value = 0;
  std::memcpy(&value, tensor.data + place * sizeof value, sizeof value);
  return value;
}

}  // namespace attention
