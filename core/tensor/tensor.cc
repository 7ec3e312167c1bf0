// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/tensor.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace attention {

AlignedBuffer::AlignedBuffer(std::size_t num_bytes)
    : data_(static_cast<std::byte*>(
          ::operator new(std::max<std::size_t>(num_bytes, 1),
                         std::align_val_t{kTensorAlignment}))),
      size_(num_bytes) {}

void AlignedBuffer::Free::operator()(std::byte* data) const {
  ::operator delete(data, std::align_val_t{kTensorAlignment});
}

Tensor::Tensor(DataType dtype, const Shape& shape)
    : dtype_(dtype),
      shape_(shape),
      buffer_(static_cast<std::size_t>(shape.num_elements()) *
              DataTypeSize(dtype)) {}

Tensor Tensor::Copy(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  if (view.num_bytes() > 0) {
    std::memcpy(tensor.buffer_.data(), view.data, view.num_bytes());
  }
  return tensor;
}

}  // namespace attention
