// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace attention {

AlignedBuffer::AlignedBuffer(std::size_t num_bytes) : size_(num_bytes) {
  const std::size_t alignment =
      num_bytes < kHugePage ? kTensorAlignment : kHugePage;
  data_ = {
      static_cast<std::byte*>(::operator new(
          std::max<std::size_t>(num_bytes, 1), std::align_val_t{alignment})),
      Free{alignment}};
  // Advice: where it is not taken, memory is as good as before.
  if (alignment == kHugePage) madvise(data_.get(), num_bytes, MADV_HUGEPAGE);
}

void AlignedBuffer::Free::operator()(std::byte* data) const {
  ::operator delete(data, std::align_val_t{alignment});
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
