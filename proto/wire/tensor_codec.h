// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/v1/tensor.pb.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Convert element types; INVALID_ARGUMENT for an unset or unknown value.
[[nodiscard]] absl::StatusOr<DataType> DecodeDataType(v1::DataType dtype);
[[nodiscard]] v1::DataType EncodeDataType(DataType dtype);

/// Read dtype and shape of a tensor with `num_bytes` of elements, which are not
/// looked at: a view of nothing. \return as DecodeTensor.
[[nodiscard]] absl::StatusOr<TensorView> DecodeTensorType(
    const v1::Tensor& message, std::size_t num_bytes, std::string_view where);

/// View the elements of a tensor, whose dtype and shape are those of `message`;
/// what data that holds itself is not looked at.
///
/// \param where names the tensor in error texts, such as "query".
/// \return INVALID_ARGUMENT when dtype is unknown, a dimension is out of range,
///   the elements are not exactly as long as dtype and shape say, or a bool is
///   neither 0 nor 1.
/// Lifetime: the view borrows the elements. Thread-safe.
[[nodiscard]] absl::StatusOr<TensorView> DecodeTensor(
    const v1::Tensor& message, std::span<const std::byte> elements,
    std::string_view where);
/// The same of a message that holds its elements itself.
[[nodiscard]] absl::StatusOr<TensorView> DecodeTensor(const v1::Tensor& message,
                                                      std::string_view where);

/// Give `message` a tensor's dtype and shape, and no elements.
void EncodeTensorType(const TensorView& tensor, v1::Tensor* message);

/// Copy a tensor into a message.
void EncodeTensor(const TensorView& tensor, v1::Tensor* message);

}  // namespace attention
