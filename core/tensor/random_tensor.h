// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/tensor/tensor.h"

namespace attention {

/// Make a tensor of reproducible uniform values in [-scale, scale).
///
/// Element i is scale * (u / 2^23 - 1), computed in float32 and then rounded to
/// `dtype` (floating), where u is the upper 24 bits of word i mod 4 of
/// Philox4x32(seed, {i / 4 mod 2^32, i / 2^34, stream, 0}).
/// tests/pytorch/philox.py computes the same bits. Thread-safe.
[[nodiscard]] Tensor RandomTensor(DataType dtype, const Shape& shape,
                                  std::uint64_t seed, std::uint32_t stream = 0,
                                  float scale = 1.0F);

}  // namespace attention
