// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/tensor/tensor.h"

namespace attention {

/// Elements of a floating tensor, empty for none, as float32.
[[nodiscard]] std::vector<float> ToFloats(const Tensor& tensor);
[[nodiscard]] std::vector<float> ToFloats(const std::optional<Tensor>& tensor);

/// Floats as a tensor of one dimension; of none, none.
[[nodiscard]] std::optional<Tensor> ToTensor(std::span<const float> floats);

/// A row of operands of a matrix multiplication: float32 or bfloat16.
struct OperandRow {
  std::byte* data = nullptr;
  DataType dtype = DataType::kFloat32;
  std::int64_t width = 0;
};

/// Convert `count` elements of a floating `dtype` (not float64), which may be
/// unaligned, into an operand row, with zeros behind them.
void LoadRow(DataType dtype, const std::byte* from, std::int64_t count,
             const OperandRow& to);

}  // namespace attention
