// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/tensor_codec.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

absl::Status CheckBools(std::string_view where,
                        std::span<const std::byte> elements) {
  std::byte seen{0};  // one pass the compiler can vectorise
  for (const std::byte element : elements) seen |= element;
  if (seen <= std::byte{1}) return absl::OkStatus();
  const auto bad = std::ranges::find_if(
      elements, [](std::byte element) { return element > std::byte{1}; });
  return absl::InvalidArgumentError(
      FormatText("{}: bool element {} is {}, expected 0 or 1", where,
                 bad - elements.begin(), std::to_integer<unsigned>(*bad)));
}

}  // namespace

absl::StatusOr<DataType> DecodeDataType(v1::DataType dtype) {
  switch (dtype) {
    case v1::DATA_TYPE_FLOAT32:
      return DataType::kFloat32;
    case v1::DATA_TYPE_FLOAT64:
      return DataType::kFloat64;
    case v1::DATA_TYPE_FLOAT16:
      return DataType::kFloat16;
    case v1::DATA_TYPE_BFLOAT16:
      return DataType::kBFloat16;
    case v1::DATA_TYPE_BOOL:
      return DataType::kBool;
    case v1::DATA_TYPE_INT32:
      return DataType::kInt32;
    case v1::DATA_TYPE_INT64:
      return DataType::kInt64;
    case v1::DATA_TYPE_UNSPECIFIED:
      return absl::InvalidArgumentError(
          "dtype is not set, expected a value of DataType");
    default:
      return absl::InvalidArgumentError(
          FormatText("dtype is {}, expected a known value of DataType",
                     static_cast<int>(dtype)));
  }
}

v1::DataType EncodeDataType(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return v1::DATA_TYPE_FLOAT32;
    case DataType::kFloat64:
      return v1::DATA_TYPE_FLOAT64;
    case DataType::kFloat16:
      return v1::DATA_TYPE_FLOAT16;
    case DataType::kBFloat16:
      return v1::DATA_TYPE_BFLOAT16;
    case DataType::kBool:
      return v1::DATA_TYPE_BOOL;
    case DataType::kInt32:
      return v1::DATA_TYPE_INT32;
    case DataType::kInt64:
      return v1::DATA_TYPE_INT64;
  }
  return v1::DATA_TYPE_UNSPECIFIED;
}

absl::StatusOr<TensorView> DecodeTensor(const v1::Tensor& message,
                                        std::string_view where) {
  return DecodeTensor(message, std::as_bytes(std::span(message.data())), where);
}

absl::StatusOr<TensorView> DecodeTensor(const v1::Tensor& message,
                                        std::span<const std::byte> elements,
                                        std::string_view where) {
  ATTENTION_ASSIGN_OR_RETURN(TensorView view,
                             DecodeTensorType(message, elements.size(), where));
  if (view.dtype == DataType::kBool) {
    ATTENTION_RETURN_IF_ERROR(CheckBools(where, elements));
  }
  view.data = elements.data();
  return view;
}

absl::StatusOr<TensorView> DecodeTensorType(const v1::Tensor& message,
                                            std::size_t num_bytes,
                                            std::string_view where) {
  const absl::StatusOr<DataType> dtype = DecodeDataType(message.dtype());
  if (!dtype.ok()) return AnnotateStatus(where, dtype.status());
  const absl::StatusOr<Shape> shape = Shape::Create(std::span(
      message.shape().data(), static_cast<std::size_t>(message.shape_size())));
  if (!shape.ok()) return AnnotateStatus(where, shape.status());
  const TensorView view{nullptr, *dtype, *shape};
  if (num_bytes == view.num_bytes()) return view;
  return absl::InvalidArgumentError(FormatText(
      "{}: data has {} bytes, expected {} for shape {} of {}", where, num_bytes,
      view.num_bytes(), shape->ToString(), DataTypeName(*dtype)));
}

void EncodeTensorType(const TensorView& tensor, v1::Tensor* message) {
  message->set_dtype(EncodeDataType(tensor.dtype));
  message->mutable_shape()->Assign(tensor.shape.dims().begin(),
                                   tensor.shape.dims().end());
}

void EncodeTensor(const TensorView& tensor, v1::Tensor* message) {
  EncodeTensorType(tensor, message);
  // An empty tensor's pointer may be null.
  const std::size_t num_bytes = tensor.num_bytes();
  if (num_bytes == 0) {
    message->clear_data();
  } else {
    message->set_data(tensor.data, num_bytes);
  }
}

}  // namespace attention
