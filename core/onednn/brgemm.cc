// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/brgemm.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "core/onednn/compute_thread.h"

#ifdef ATTENTION_HAS_UKERNELS
#include <oneapi/dnnl/dnnl_ukernel.h>
#endif

namespace attention {

#ifdef ATTENTION_HAS_UKERNELS

namespace {

void Check(dnnl_status_t status) {
  dnnl::error::wrap_c_api(status, "a ukernel failed");
}

// Memory a kernel may work in; those in use ask for none or a few KiB (AMX).
constexpr std::size_t kScratchBytes = 65536;

std::byte* Scratch() {
  alignas(64) thread_local std::array<std::byte, kScratchBytes> scratch;
  return scratch.data();
}

// The kernel whose context the thread has.
thread_local const dnnl_brgemm* context_kernel = nullptr;

// Configure AMX's tiles for a kernel; does nothing elsewhere.
void UseContextOf(const dnnl_brgemm* kernel) {
  if (context_kernel == kernel) return;
  Check(dnnl_brgemm_set_hw_context(kernel));
  context_kernel = kernel;
}

}  // namespace

void Brgemm::Release() {
  if (context_kernel == nullptr) return;
  dnnl_brgemm_release_hw_context();
  context_kernel = nullptr;
}

void Brgemm::Destroy::operator()(dnnl_brgemm* kernel) const {
  dnnl_brgemm_destroy(kernel);
}

Brgemm::Kernel Brgemm::Compile(const Shape& shape, std::int64_t rows) {
  dnnl_brgemm_t made = nullptr;
  Check(dnnl_brgemm_create(&made, rows, shape.columns, shape.depth,
                           /*batch_size=*/1, shape.lda, shape.ldb, shape.ldc,
                           dnnl_bf16, dnnl_bf16, dnnl_f32));
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

void Brgemm::Execute(std::int64_t rows, const std::uint16_t* a,
                     const std::uint16_t* b, float* c) const {
  constexpr dnnl_dim_t kNoOffsets[2] = {0, 0};
  std::int64_t height = kMaxRows;
  for (const Kernel& kernel : kernels_) {
    for (; rows >= height; rows -= height) {
      UseContextOf(kernel.get());
      Check(dnnl_brgemm_execute(kernel.get(), a, b, kNoOffsets, c, Scratch()));
      a += height * shape_.lda;
      c += height * shape_.ldc;
    }
    height /= 2;
  }
}

bool Brgemm::IsAvailable() {
  // The smallest kernels a module may need, and large ones.
  static const bool available = [] {
    const ComputeThreadScope scope;
    try {
      for (const std::int64_t size : {16, 64}) {
        (void)Brgemm({.columns = size,
                      .depth = size == 16 ? 2 : 64,
                      .lda = 64,
                      .ldb = size,
                      .ldc = 64,
                      .accumulate = size == 16});
      }
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return available;
}

#else  // an oneDNN built without them

void Brgemm::Destroy::operator()(dnnl_brgemm*) const {}

Brgemm::Brgemm(const Shape& shape) : shape_(shape) {
  throw dnnl::error(dnnl_unimplemented, "oneDNN has no ukernels");
}

void Brgemm::Execute(std::int64_t, const std::uint16_t*, const std::uint16_t*,
                     float*) const {}

void Brgemm::Release() {}

bool Brgemm::IsAvailable() { return false; }

#endif

}  // namespace attention
