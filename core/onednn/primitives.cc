// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/primitives.h"

#include <unordered_map>

namespace attention {
namespace {

using Desc = dnnl::memory::desc;
constexpr auto kF32 = dnnl::memory::data_type::f32;

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attributes;
  // The default, library-managed scratchpad is not thread-safe.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// Primitives only read their sources, but dnnl::memory has no const view.
dnnl::memory Memory(const Desc& desc, const void* data) {
  return {desc, CpuEngine(), const_cast<void*>(data)};
}

// Execution on the CPU is synchronous, so one stream per thread serves all.
const dnnl::stream& ThreadStream() {
  thread_local const dnnl::stream stream(CpuEngine());
  return stream;
}

}  // namespace

void Primitive::Execute(
    std::initializer_list<std::pair<const int, const void*>> arguments,
    std::byte* scratchpad) const {
  std::unordered_map<int, dnnl::memory> memories = {
      {DNNL_ARG_SCRATCHPAD, Memory(desc(DNNL_ARG_SCRATCHPAD), scratchpad)}};
  for (const auto& [argument, data] : arguments) {
    if (data != nullptr) {
      memories.emplace(argument, Memory(desc(argument), data));
    }
  }
  primitive_.execute(ThreadStream(), memories);
}

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine = [] {
    // What oneDNN keeps compiled, each up to 0.25 MB (measured with AVX-512):
    // of attention some hundred shapes, beside the linear layers of modules.
    dnnl::set_primitive_cache_capacity(512);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

Desc Strided(const dnnl::memory::dims& dims,
             const dnnl::memory::dims& strides) {
  return {dims, kF32, strides};
}

Desc Dense(const dnnl::memory::dims& dims) {
  using Tag = dnnl::memory::format_tag;
  return {dims, kF32, dims.size() == 2 ? Tag::ab : Tag::abc};
}

Primitive MakeMatmul(const MatmulDescs& descs) {
  dnnl::primitive_attr attributes = UserScratchpad();
  if (descs.eltwise != dnnl::algorithm::undef) {
    dnnl::post_ops post_ops;
    post_ops.append_eltwise(descs.eltwise, descs.alpha, 0.0F);
    attributes.set_post_ops(post_ops);
  }
  return Primitive(dnnl::matmul::primitive_desc(CpuEngine(), descs.src,
                                                descs.weights, descs.bias,
                                                descs.dst, attributes));
}

Primitive MakeSoftmax(std::int64_t rows, std::int64_t columns) {
  const Desc matrix = Dense({rows, columns});
  return Primitive(dnnl::softmax_forward::primitive_desc(
      CpuEngine(), dnnl::prop_kind::forward_inference,
      dnnl::algorithm::softmax_accurate, matrix, matrix, /*axis=*/1,
      UserScratchpad()));
}

Primitive MakeLayerNorm(const dnnl::memory::dims& dims, float epsilon,
                        bool has_shift) {
  const Desc matrix = Dense(dims);
  auto flags = dnnl::normalization_flags::use_scale;
  if (has_shift) flags |= dnnl::normalization_flags::use_shift;
  return Primitive(dnnl::layer_normalization_forward::primitive_desc(
      CpuEngine(), dnnl::prop_kind::forward_inference, matrix, matrix, epsilon,
      flags, UserScratchpad()));
}

void Reorder(const Desc& from_desc, const void* from, const Desc& to_desc,
             void* to) {
  dnnl::memory source = Memory(from_desc, from);
  dnnl::memory target = Memory(to_desc, to);
  dnnl::reorder(source, target).execute(ThreadStream(), source, target);
}

}  // namespace attention
