// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "core/tensor/data_type.h"
#include "core/tensor/shape.h"

namespace attention {

// core/tensor: what numbers are and how they lie: dtypes, shapes from untrusted
// dimensions, views and owners, conversions, memory to carve, texts of errors.
// Knows nothing of attention. Uses core/simd for conversions.

/// Read-only dense row-major tensor that borrows its elements. The memory must
/// outlive the view; it need not be aligned to the element size.
struct TensorView {
  const std::byte* data = nullptr;
  DataType dtype = DataType::kFloat32;
  Shape shape;

  [[nodiscard]] std::size_t num_bytes() const {
    return static_cast<std::size_t>(shape.num_elements()) * DataTypeSize(dtype);
  }
};

/// Writable counterpart of TensorView.
struct MutableTensorView {
  std::byte* data = nullptr;
  DataType dtype = DataType::kFloat32;
  Shape shape;

  [[nodiscard]] std::size_t num_bytes() const {
    return static_cast<std::size_t>(shape.num_elements()) * DataTypeSize(dtype);
  }
  operator TensorView() const {  // NOLINT(google-explicit-constructor)
    return {data, dtype, shape};
  }
};

/// Alignment of memory owned by Tensor and AlignedBuffer: a cache line, and the
/// widest vector register.
inline constexpr std::size_t kTensorAlignment = 64;

/// Owning, uninitialised memory aligned to kTensorAlignment. Move-only. From
/// kHugePage bytes on it lies in huge pages, if the system gives some: 12 MiB
/// of small ones are more than a processor keeps the addresses of.
class AlignedBuffer {
 public:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20U;

  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~AlignedBuffer() = default;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  /// Throws std::bad_alloc when memory is exhausted.
  explicit AlignedBuffer(std::size_t num_bytes);

  [[nodiscard]] std::byte* data() { return data_.get(); }
  [[nodiscard]] const std::byte* data() const { return data_.get(); }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Free {
    std::size_t alignment;

    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Free> data_{nullptr, Free{kTensorAlignment}};
  std::size_t size_ = 0;
};

/// Dense row-major tensor that owns its elements. Move-only; copies are made by
/// Clone() so that their cost is visible. Thread-compatible.
class Tensor {
 public:
  Tensor() = default;
  /// Allocate an uninitialised tensor. Throws std::bad_alloc.
  Tensor(DataType dtype, const Shape& shape);

  /// Copy the elements behind a view.
  [[nodiscard]] static Tensor Copy(const TensorView& view);
  [[nodiscard]] Tensor Clone() const { return Copy(view()); }

  [[nodiscard]] DataType dtype() const { return dtype_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] std::size_t num_bytes() const { return view().num_bytes(); }
  [[nodiscard]] TensorView view() const {
    return {buffer_.data(), dtype_, shape_};
  }
  [[nodiscard]] MutableTensorView mutable_view() {
    return {buffer_.data(), dtype_, shape_};
  }
  /// The elements as T, whose size must be that of dtype().
  template <typename T>
  [[nodiscard]] std::span<T> data() {
    return {reinterpret_cast<T*>(buffer_.data()),
            static_cast<std::size_t>(shape_.num_elements())};
  }
  template <typename T>
  [[nodiscard]] std::span<const T> data() const {
    return {reinterpret_cast<const T*>(buffer_.data()),
            static_cast<std::size_t>(shape_.num_elements())};
  }

 private:
  DataType dtype_ = DataType::kFloat32;
  Shape shape_{0};
  AlignedBuffer buffer_;
};

}  // namespace attention
