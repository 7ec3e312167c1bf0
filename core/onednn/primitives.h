// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <oneapi/dnnl/dnnl.hpp>
#include <utility>

namespace attention {

// core/onednn: the only room that sees oneDNN: its matmul, softmax and
// normalisation primitives, attention and linear layers made of them, and its
// bfloat16 ukernels. Its exceptions end at CatchDnnl. Uses core/attention.

/// One of oneDNN's primitives, compiled for fixed shapes and working in a
/// scratchpad of the caller's, so immutable and thread-safe. Compiling one
/// takes 0.1 to 1.5 ms, or some 10 us while oneDNN still holds its like. All
/// functions here throw dnnl::error.
class Primitive {
 public:
  explicit Primitive(const dnnl::primitive_desc& desc)
      : desc_(desc), primitive_(desc) {}

  /// How an argument (DNNL_ARG_SRC, ...) lies in memory.
  [[nodiscard]] dnnl::memory::desc desc(int argument) const {
    return desc_.query_md(dnnl::query::exec_arg_md, argument);
  }
  [[nodiscard]] std::size_t scratchpad_bytes() const {
    return desc(DNNL_ARG_SCRATCHPAD).get_size();
  }
  /// Compute; null arguments are not there. Of them only DNNL_ARG_DST is
  /// written.
  void Execute(
      std::initializer_list<std::pair<const int, const void*>> arguments,
      std::byte* scratchpad) const;

 private:
  dnnl::primitive_desc desc_;
  dnnl::primitive primitive_;
};

/// The one CPU engine of the process.
[[nodiscard]] const dnnl::engine& CpuEngine();

/// Describe a float32 tensor of these strides, or a dense one.
[[nodiscard]] dnnl::memory::desc Strided(const dnnl::memory::dims& dims,
                                         const dnnl::memory::dims& strides);
[[nodiscard]] dnnl::memory::desc Dense(const dnnl::memory::dims& dims);

/// DST = f(SRC * WEIGHTS + BIAS). The layout of weights may be
/// format_tag::any, for the primitive to choose.
struct MatmulDescs {
  dnnl::memory::desc src;
  dnnl::memory::desc weights;
  dnnl::memory::desc dst;
  dnnl::memory::desc bias = {};  ///< default: none
  /// f; default: none.
  dnnl::algorithm eltwise = dnnl::algorithm::undef;
  float alpha = 0.0F;
};
[[nodiscard]] Primitive MakeMatmul(const MatmulDescs& descs);

/// Softmax over the rows of a dense [rows, columns] matrix: SRC to DST, which
/// may be the same.
[[nodiscard]] Primitive MakeSoftmax(std::int64_t rows, std::int64_t columns);

/// Layer normalisation of the rows of a dense [rows, width] matrix: SRC to DST,
/// which may be the same, with SCALE and SHIFT [width]:
///
///   y = (x - mean) / sqrt(variance + epsilon) * scale + shift
[[nodiscard]] Primitive MakeLayerNorm(const dnnl::memory::dims& dims,
                                      float epsilon, bool has_shift);

/// Copy a tensor from one layout to another.
void Reorder(const dnnl::memory::desc& from_desc, const void* from,
             const dnnl::memory::desc& to_desc, void* to);

}  // namespace attention
