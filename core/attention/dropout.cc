// SPDX-License-Identifier: Apache-2.0
#include "core/attention/dropout.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "core/tensor/philox.h"

namespace attention {

DropoutMask::DropoutMask(double probability, std::uint64_t seed)
    : threshold_(
          static_cast<std::uint64_t>(std::llround(probability * 0x1p32))),
      scale_(probability < 1.0 ? 1.0 / (1.0 - probability) : 0.0),
      seed_(seed) {}

template <typename Real>
void DropoutMask::Apply(const Sequence& sequence, std::int64_t head,
                        std::int64_t row, Real* weights) const {
  std::array<std::uint32_t, 4> words{};
  std::int64_t block = -1;
  for (std::int64_t k = 0; k < sequence.num_columns(); ++k) {
    const std::int64_t column = sequence.column(k);
    if (column / 4 != block) {
      block = column / 4;
      words = Philox4x32(seed_, {static_cast<std::uint32_t>(block),
                                 static_cast<std::uint32_t>(row),
                                 static_cast<std::uint32_t>(sequence.index),
                                 static_cast<std::uint32_t>(head)});
    }
    const bool keep = words[static_cast<std::size_t>(column % 4)] >= threshold_;
    weights[k] *= static_cast<Real>(keep ? scale_ : 0.0);
  }
}

template void DropoutMask::Apply(const Sequence&, std::int64_t, std::int64_t,
                                 float*) const;
template void DropoutMask::Apply(const Sequence&, std::int64_t, std::int64_t,
                                 double*) const;

}  // namespace attention
