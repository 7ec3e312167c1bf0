// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_thread.h"

#include <xmmintrin.h>

#include "core/onednn/brgemm.h"

// Of the OpenMP runtime that oneDNN is linked with, GCC's, whose header clang
// does not find.
extern "C" void omp_set_num_threads(int num_threads);

namespace attention {
namespace {

// Intel 64 manual, volume 1, 10.2.3: bit 15 is flush-to-zero, bit 6
// denormals-are-zero.
constexpr unsigned kFlushToZero = 1U << 15U;
constexpr unsigned kDenormalsAreZero = 1U << 6U;

void UseThisThreadAlone() {
  thread_local bool done = false;
  if (!done) omp_set_num_threads(1);
  done = true;
}

}  // namespace

ComputeThreadScope::ComputeThreadScope() : saved_control_(_mm_getcsr()) {
  UseThisThreadAlone();
  _mm_setcsr(saved_control_ | kFlushToZero | kDenormalsAreZero);
}

ComputeThreadScope::~ComputeThreadScope() {
  Brgemm::Release();
  _mm_setcsr(saved_control_);
}

}  // namespace attention
