// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace attention {

/// Puts the calling thread in the state computing needs, while it lives.
///
/// - Denormals are flushed to zero (FTZ and DAZ of MXCSR): denormal inputs
/// would
///   make a float32 matmul 200 times slower.
/// - OpenMP is told to use this thread alone, so that oneDNN creates and
///   executes primitives inline and never enters a parallel region. This
///   setting is left in place: nothing else in the process uses OpenMP.
/// - What ukernels have set of the processor's state is let go of at the end.
/// All are per thread. Cost: a few nanoseconds.
class ComputeThreadScope {
 public:
  ComputeThreadScope();
  ~ComputeThreadScope();
  ComputeThreadScope(const ComputeThreadScope&) = delete;
  ComputeThreadScope& operator=(const ComputeThreadScope&) = delete;

 private:
  unsigned saved_control_;
};

}  // namespace attention
