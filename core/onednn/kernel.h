// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>

namespace attention {

/// The one CPU engine of the process.
[[nodiscard]] const dnnl::engine& CpuEngine();

/// A compiled float32 matmul: dst = f(src * weights + bias).
///
/// Compiled for fixed memory descriptors, with a user-supplied scratchpad, so
/// immutable and thread-safe. Functions throw dnnl::error.
class MatmulKernel {
 public:
  /// An element-wise function and its parameter.
  struct Eltwise {
    dnnl::algorithm algorithm;
    float alpha = 0.0F;
  };
  struct Descs {
    dnnl::memory::desc src;
    dnnl::memory::desc weights;  ///< may be format_tag::any: see weights_desc()
    dnnl::memory::desc dst;
    std::optional<dnnl::memory::desc> bias;
    std::optional<Eltwise> eltwise;  ///< f; default: none
  };
  struct Operands {
    const float* src;
    const void* weights;  ///< in the layout of weights_desc()
    float* dst;
    const float* bias = nullptr;
    std::byte* scratchpad;  ///< scratchpad_bytes()
  };

  explicit MatmulKernel(const Descs& descs);

  [[nodiscard]] dnnl::memory::desc weights_desc() const {
    return desc_.weights_desc();
  }
  [[nodiscard]] std::size_t scratchpad_bytes() const {
    return desc_.scratchpad_desc().get_size();
  }
  void Execute(const Operands& operands) const;

 private:
  dnnl::matmul::primitive_desc desc_;
  dnnl::matmul primitive_;
};

/// A compiled float32 softmax over the rows of a dense [rows, columns] matrix,
/// in place. Immutable and thread-safe. Functions throw dnnl::error.
class SoftmaxKernel {
 public:
  SoftmaxKernel(std::int64_t rows, std::int64_t columns);

  [[nodiscard]] std::size_t scratchpad_bytes() const {
    return desc_.scratchpad_desc().get_size();
  }
  void Execute(float* matrix, std::byte* scratchpad) const;

 private:
  dnnl::softmax_forward::primitive_desc desc_;
  dnnl::softmax_forward primitive_;
};

/// A compiled float32 layer normalisation of the rows of a dense [rows, width]
/// matrix, which may be in place:
///
///   y = (x - mean) / sqrt(variance + epsilon) * scale + shift
///
/// Immutable and thread-safe. Functions throw dnnl::error.
class LayerNormKernel {
 public:
  struct Operands {
    const float* src;
    float* dst;
    const float* scale;            ///< [width]
    const float* shift = nullptr;  ///< [width], if has_shift
    std::byte* scratchpad;         ///< scratchpad_bytes()
  };

  LayerNormKernel(const dnnl::memory::dims& dims, float epsilon,
                  bool has_shift);

  [[nodiscard]] std::size_t scratchpad_bytes() const {
    return desc_.scratchpad_desc().get_size();
  }
  void Execute(const Operands& operands) const;

 private:
  dnnl::layer_normalization_forward::primitive_desc desc_;
  dnnl::layer_normalization_forward primitive_;
};

}  // namespace attention
