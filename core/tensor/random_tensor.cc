// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/random_tensor.h"

#include <array>
#include <cstddef>

#include "core/tensor/convert.h"
#include "core/tensor/philox.h"

namespace attention {

Tensor RandomTensor(DataType dtype, const Shape& shape, std::uint64_t seed,
                    std::uint32_t stream, float scale) {
  Tensor tensor(dtype, shape);
  const auto count = static_cast<std::size_t>(shape.num_elements());
  const std::size_t element_size = DataTypeSize(dtype);
  std::byte* out = tensor.mutable_view().data;
  std::array<std::uint32_t, 4> words{};
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 4 == 0) {
      words =
          Philox4x32(seed, {static_cast<std::uint32_t>(i / 4),
                            static_cast<std::uint32_t>(i >> 34U), stream, 0});
    }
    const float unit = static_cast<float>(words[i % 4] >> 8U) * 0x1p-23F - 1.0F;
    const float value = scale * unit;
    StoreReals(&value, 1, dtype, out + i * element_size);
  }
  return tensor;
}

}  // namespace attention
