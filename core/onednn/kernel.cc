// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/kernel.h"

#include <unordered_map>

namespace attention {
namespace {

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attributes;
  // The default, library-managed scratchpad is not thread-safe.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

dnnl::matmul::primitive_desc MatmulDesc(const MatmulKernel::Descs& descs) {
  dnnl::primitive_attr attributes = UserScratchpad();
  if (descs.eltwise) {
    dnnl::post_ops post_ops;
    post_ops.append_eltwise(descs.eltwise->algorithm, descs.eltwise->alpha,
                            0.0F);
    attributes.set_post_ops(post_ops);
  }
  if (descs.bias) {
    return {CpuEngine(), descs.src, descs.weights,
            *descs.bias, descs.dst, attributes};
  }
  return {CpuEngine(), descs.src, descs.weights, descs.dst, attributes};
}

// Primitives only read their sources, but dnnl::memory has no const view.
void* Mutable(const void* data) { return const_cast<void*>(data); }

// Execution on the CPU is synchronous, so one stream per thread serves all.
const dnnl::stream& ThreadStream() {
  thread_local const dnnl::stream stream(CpuEngine());
  return stream;
}

}  // namespace

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine = [] {
    // What oneDNN keeps beside the kernels we hold: enough for modules of one
    // size to share their kernels.
    dnnl::set_primitive_cache_capacity(256);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

MatmulKernel::MatmulKernel(const Descs& descs)
    : desc_(MatmulDesc(descs)), primitive_(desc_) {}

void MatmulKernel::Execute(const Operands& operands) const {
  const dnnl::engine& engine = CpuEngine();
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, {desc_.src_desc(), engine, Mutable(operands.src)}},
      {DNNL_ARG_WEIGHTS,
       {desc_.weights_desc(), engine, Mutable(operands.weights)}},
      {DNNL_ARG_DST, {desc_.dst_desc(), engine, operands.dst}},
      {DNNL_ARG_SCRATCHPAD,
       {desc_.scratchpad_desc(), engine, operands.scratchpad}}};
  if (operands.bias != nullptr) {
    arguments.emplace(DNNL_ARG_BIAS, dnnl::memory(desc_.bias_desc(), engine,
                                                  Mutable(operands.bias)));
  }
  primitive_.execute(ThreadStream(), arguments);
}

SoftmaxKernel::SoftmaxKernel(std::int64_t rows, std::int64_t columns)
    : desc_(CpuEngine(), dnnl::prop_kind::forward_inference,
            dnnl::algorithm::softmax_accurate,
            dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::f32,
                               dnnl::memory::format_tag::ab),
            dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::f32,
                               dnnl::memory::format_tag::ab),
            /*axis=*/1, UserScratchpad()),
      primitive_(desc_) {}

void SoftmaxKernel::Execute(float* matrix, std::byte* scratchpad) const {
  const dnnl::memory data(desc_.src_desc(), CpuEngine(), matrix);
  primitive_.execute(ThreadStream(),
                     {{DNNL_ARG_SRC, data},
                      {DNNL_ARG_DST, data},
                      {DNNL_ARG_SCRATCHPAD,
                       {desc_.scratchpad_desc(), CpuEngine(), scratchpad}}});
}

LayerNormKernel::LayerNormKernel(const dnnl::memory::dims& dims, float epsilon,
                                 bool has_shift)
    : desc_(CpuEngine(), dnnl::prop_kind::forward_inference,
            dnnl::memory::desc(dims, dnnl::memory::data_type::f32,
                               dnnl::memory::format_tag::ab),
            dnnl::memory::desc(dims, dnnl::memory::data_type::f32,
                               dnnl::memory::format_tag::ab),
            epsilon,
            has_shift ? dnnl::normalization_flags::use_scale |
                            dnnl::normalization_flags::use_shift
                      : dnnl::normalization_flags::use_scale,
            UserScratchpad()),
      primitive_(desc_) {}

void LayerNormKernel::Execute(const Operands& operands) const {
  const dnnl::engine& engine = CpuEngine();
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, {desc_.src_desc(), engine, Mutable(operands.src)}},
      {DNNL_ARG_DST, {desc_.dst_desc(), engine, operands.dst}},
      {DNNL_ARG_SCALE, {desc_.weights_desc(), engine, Mutable(operands.scale)}},
      {DNNL_ARG_SCRATCHPAD,
       {desc_.scratchpad_desc(), engine, operands.scratchpad}}};
  if (operands.shift != nullptr) {
    arguments.emplace(DNNL_ARG_SHIFT, dnnl::memory(desc_.weights_desc(), engine,
                                                   Mutable(operands.shift)));
  }
  primitive_.execute(ThreadStream(), arguments);
}

}  // namespace attention
