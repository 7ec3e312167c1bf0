// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/fused/fused_attention.h"
#include "core/tensor/data_type.h"

namespace attention {

/// Which kernels a module computes with.
enum class KernelKind : std::uint8_t {
  kFused,       ///< fused attention: on Multiply, or in bfloat16 on ukernels
  kPrimitives,  ///< oneDNN's matmul and softmax primitives, float32
};

/// What a module computes with.
struct ComputePath {
  KernelKind kernels = KernelKind::kPrimitives;
  /// Of weights and operands: kFloat32, or kBFloat16 if fused.
  DataType dtype = DataType::kFloat32;
  /// As FusedOptions's.
  std::int64_t pass_bytes = FusedOptions().pass_bytes;

  friend bool operator==(const ComputePath&, const ComputePath&) = default;

  /// Name reported to callers.
  [[nodiscard]] std::string_view name() const {
    return kernels == KernelKind::kFused ? "fused" : "primitives";
  }

  /// The instructions of this machine that its matrix products use, such as
  /// "AVX2" or "AMX".
  [[nodiscard]] std::string_view instructions() const;
};

/// The best path of this machine for a module that asks for `dtype`: fused in
/// that dtype, else in float32, else primitives. Fused float32 needs AVX2 and
/// its multiply-add, fused bfloat16 oneDNN's ukernels (AVX-512 BF16 or AMX),
/// and neither is taken where ONEDNN_MAX_CPU_ISA forbids these. The same
/// throughout the life of the process.
[[nodiscard]] ComputePath BestComputePath(DataType dtype);

/// What an operator wants modules to be computed with.
enum class PathChoice : std::uint8_t {
  kAuto,        ///< the best there is
  kFused,       ///< fused attention, or nothing
  kPrimitives,  ///< primitives, also where fused attention would be faster
};

/// The path of a choice for a module that asks for `dtype`.
/// \return FAILED_PRECONDITION where the machine lacks what is chosen.
[[nodiscard]] absl::StatusOr<ComputePath> ChooseComputePath(PathChoice choice,
                                                            DataType dtype);

}  // namespace attention
