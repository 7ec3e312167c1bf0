// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "attention/v1/tensor.pb.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Convert element types; INVALID_ARGUMENT for an unset or unknown value.
[[nodiscard]] absl::StatusOr<DataType> DecodeDataType(v1::DataType dtype);
[[nodiscard]] v1::DataType EncodeDataType(DataType dtype);

/// View a tensor message without copying its elements.
///
/// \param where names the tensor in error texts, such as "query".
/// \return INVALID_ARGUMENT when dtype is unknown, a dimension is out of range,
///   data is not exactly as long as dtype and shape say, or a bool element is
///   neither 0 nor 1.
/// Lifetime: the view borrows from `message`. Thread-safe.
[[nodiscard]] absl::StatusOr<TensorView> DecodeTensor(const v1::Tensor& message,
                                                      std::string_view where);

/// Give `message` this dtype and shape and elements of unspecified value, and
/// view them for writing. Lifetime: the view borrows from `message`.
[[nodiscard]] MutableTensorView AllocateTensor(DataType dtype,
                                               const Shape& shape,
                                               v1::Tensor* message);

/// Copy a tensor into a message.
void EncodeTensor(const TensorView& tensor, v1::Tensor* message);

}  // namespace attention
