// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor/data_type.h"

namespace attention {

/// Which of oneDNN's kernels a module computes with.
enum class KernelKind : std::uint8_t {
  kUkernel,  ///< fused attention on brgemm ukernels
  kMatmul,   ///< matmul and softmax primitives, float32
};

/// What a module computes with.
struct ComputePath {
  KernelKind kernels = KernelKind::kMatmul;
  /// Of weights and operands: kFloat32, or kBFloat16 with ukernels.
  DataType dtype = DataType::kFloat32;

  /// Name reported to callers.
  [[nodiscard]] std::string_view name() const {
    return kernels == KernelKind::kUkernel ? "onednn-ukernel" : "onednn-matmul";
  }
};

/// The best path of this machine for a module that asks for `dtype`: ukernels
/// in that dtype, else in float32, else matmuls. The same throughout the life
/// of the process.
[[nodiscard]] ComputePath BestComputePath(DataType dtype);

}  // namespace attention
