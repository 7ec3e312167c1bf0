// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attention {

/// Element type of a tensor. Multi-byte elements are little-endian.
enum class DataType : std::uint8_t {
  kFloat32,
  kFloat64,
  kFloat16,   ///< IEEE 754 binary16
  kBFloat16,  ///< upper half of an IEEE 754 binary32
  kBool,      ///< one byte, 0 or 1
  kInt32,
  kInt64,
};

/// Return the size of one element in bytes.
[[nodiscard]] std::size_t DataTypeSize(DataType dtype);

/// Return PyTorch's name of the type, such as "float32".
[[nodiscard]] std::string_view DataTypeName(DataType dtype);

/// Return whether the type is one of the four floating types.
[[nodiscard]] bool IsFloating(DataType dtype);

}  // namespace attention
