// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/tensor_values.h"

#include <cassert>
#include <cstdint>
#include <cstring>

#include "core/tensor/convert.h"
#include "core/tensor/format_text.h"

namespace attention {
namespace {

template <typename Stored>
void LoadIntegers(const std::byte* src, std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, src + i * sizeof(Stored), sizeof(Stored));
    values[i] = static_cast<double>(stored);
  }
}

}  // namespace

std::vector<double> ReadValues(const TensorView& tensor, std::size_t first,
                               std::size_t count) {
  assert(first + count <=
         static_cast<std::size_t>(tensor.shape.num_elements()));
  std::vector<double> values(count);
  if (count == 0) return values;
  const std::byte* src = tensor.data + first * DataTypeSize(tensor.dtype);
  switch (tensor.dtype) {
    case DataType::kBool:
      LoadIntegers<std::uint8_t>(src, values);
      break;
    case DataType::kInt32:
      LoadIntegers<std::int32_t>(src, values);
      break;
    case DataType::kInt64:
      LoadIntegers<std::int64_t>(src, values);
      break;
    default:
      LoadReals(tensor.dtype, src, count, values.data());
  }
  return values;
}

std::vector<double> ReadValues(const TensorView& tensor) {
  return ReadValues(tensor, 0,
                    static_cast<std::size_t>(tensor.shape.num_elements()));
}

std::string PositionToString(const Shape& shape, std::size_t flat_index) {
  std::string text;
  for (std::size_t axis = shape.rank(); axis-- > 0;) {
    const auto dim = static_cast<std::size_t>(shape.dim(axis));
    text =
        FormatText("{}{}{}", flat_index % dim, text.empty() ? "" : ", ", text);
    flat_index /= dim;
  }
  return FormatText("[{}]", text);
}

}  // namespace attention
