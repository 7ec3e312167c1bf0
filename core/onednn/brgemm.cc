// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/brgemm.h"

#include <oneapi/dnnl/dnnl_ukernel.h>

#include <oneapi/dnnl/dnnl.hpp>

#include "core/onednn/compute_thread.h"

namespace attention {

#ifdef ATTENTION_HAS_UKERNELS

namespace {

void Check(dnnl_status_t status) {
  dnnl::error::wrap_c_api(status, "a ukernel failed");
}

dnnl_data_type_t DnnlType(DataType dtype) {
  return dtype == DataType::kBFloat16 ? dnnl_bf16 : dnnl_f32;
}

// Memory a kernel may work in; those in use ask for none or a few KiB (AMX).
constexpr std::size_t kScratchBytes = 65536;

std::byte* Scratch() {
  alignas(64) thread_local std::array<std::byte, kScratchBytes> scratch;
  return scratch.data();
}

}  // namespace

void Brgemm::Destroy::operator()(dnnl_brgemm* kernel) const {
  dnnl_brgemm_destroy(kernel);
}

Brgemm::Kernel Brgemm::Compile(const Shape& shape, std::int64_t rows) {
  dnnl_brgemm_t made = nullptr;
  const dnnl_data_type_t type = DnnlType(shape.dtype);
  Check(dnnl_brgemm_create(&made, rows, shape.columns, shape.depth,
                           /*batch_size=*/1, shape.lda, shape.ldb, shape.ldc,
                           type, type, dnnl_f32));
  Kernel kernel(made);
  Check(dnnl_brgemm_set_add_C(made, shape.accumulate ? 1 : 0));
  Check(dnnl_brgemm_finalize(made));
  Check(dnnl_brgemm_generate(made));
  std::size_t scratch_bytes = 0;
  Check(dnnl_brgemm_get_scratchpad_size(made, &scratch_bytes));
  if (scratch_bytes > kScratchBytes) Check(dnnl_unimplemented);
  return kernel;
}

Brgemm::Brgemm(const Shape& shape) : shape_(shape) {
  std::int64_t rows = kMaxRows;
  for (Kernel& kernel : kernels_) {
    kernel = Compile(shape, rows);
    rows /= 2;
  }
}

void Brgemm::Execute(std::int64_t rows, const void* a, const void* b,
                     float* c) const {
  const auto* from = static_cast<const std::byte*>(a);
  const auto lda_bytes =
      shape_.lda * static_cast<std::int64_t>(DataTypeSize(shape_.dtype));
  constexpr dnnl_dim_t kNoOffsets[2] = {0, 0};
  std::int64_t height = kMaxRows;
  for (const Kernel& kernel : kernels_) {
    for (; rows >= height; rows -= height) {
      // Configures AMX's tiles; does nothing elsewhere.
      if (shape_.dtype == DataType::kBFloat16) {
        Check(dnnl_brgemm_set_hw_context(kernel.get()));
      }
      Check(
          dnnl_brgemm_execute(kernel.get(), from, b, kNoOffsets, c, Scratch()));
      from += height * lda_bytes;
      c += height * shape_.ldc;
    }
    height /= 2;
  }
}

bool Brgemm::IsAvailable(DataType dtype) {
  const auto compiles = [](DataType type) {
    const ComputeThreadScope scope;
    try {
      (void)Compile({.dtype = type,
                     .columns = 64,
                     .depth = 64,
                     .lda = 64,
                     .ldb = 64,
                     .ldc = 64},
                    kMaxRows);
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  };
  static const bool has_float32 = compiles(DataType::kFloat32);
  static const bool has_bfloat16 = compiles(DataType::kBFloat16);
  return dtype == DataType::kFloat32    ? has_float32
         : dtype == DataType::kBFloat16 ? has_bfloat16
                                        : false;
}

#else  // an oneDNN built without them

void Brgemm::Destroy::operator()(dnnl_brgemm*) const {}

Brgemm::Brgemm(const Shape& shape) : shape_(shape) {
  throw dnnl::error(dnnl_unimplemented, "oneDNN has no ukernels");
}

void Brgemm::Execute(std::int64_t, const void*, const void*, float*) const {}

bool Brgemm::IsAvailable(DataType) { return false; }

#endif

}  // namespace attention
