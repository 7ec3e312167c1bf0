// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/floats.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/simd/convert.h"
#include "core/tensor/convert.h"

namespace attention {

std::vector<float> ToFloats(const Tensor& tensor) {
  std::vector<float> floats(
      static_cast<std::size_t>(tensor.shape().num_elements()));
  LoadReals(tensor.dtype(), tensor.view().data, floats.size(), floats.data());
  return floats;
}

std::vector<float> ToFloats(const std::optional<Tensor>& tensor) {
  return tensor ? ToFloats(*tensor) : std::vector<float>();
}

std::optional<Tensor> ToTensor(std::span<const float> floats) {
  if (floats.empty()) return std::nullopt;
  Tensor tensor(DataType::kFloat32,
                Shape{static_cast<std::int64_t>(floats.size())});
  std::ranges::copy(floats, tensor.data<float>().begin());
  return tensor;
}

void LoadRow(DataType dtype, const std::byte* from, std::int64_t count,
             const OperandRow& to) {
  const std::size_t size = DataTypeSize(to.dtype);
  const auto num = static_cast<std::size_t>(count);
  if (dtype == to.dtype) {
    std::memcpy(to.data, from, num * size);
  } else if (to.dtype == DataType::kFloat32) {
    LoadReals(dtype, from, num, reinterpret_cast<float*>(to.data));
  } else if (dtype == DataType::kFloat32 &&
             reinterpret_cast<std::uintptr_t>(from) % sizeof(float) == 0) {
    FloatToBf16(reinterpret_cast<const float*>(from), num,
                reinterpret_cast<std::uint16_t*>(to.data));
  } else {
    std::array<float, 256> floats;
    auto* target = reinterpret_cast<std::uint16_t*>(to.data);
    for (std::size_t first = 0; first < num; first += floats.size()) {
      const std::size_t part = std::min(floats.size(), num - first);
      LoadReals(dtype, from + first * DataTypeSize(dtype), part, floats.data());
      FloatToBf16(floats.data(), part, target + first);
    }
  }
  std::memset(to.data + num * size, 0,
              (static_cast<std::size_t>(to.width) - num) * size);
}

}  // namespace attention
