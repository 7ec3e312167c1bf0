// SPDX-License-Identifier: Apache-2.0
#include "core/attention/dropout.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "core/tensor/philox.h"

namespace attention {

DropoutMask::DropoutMask(const RequestPlan& request, std::uint32_t layer,
                         DropoutSite site)
    : threshold_(
          static_cast<std::uint64_t>(std::llround(request.dropout * 0x1p32))),
      scale_(request.dropout < 1.0 ? 1.0 / (1.0 - request.dropout) : 0.0),
      seed_(request.dropout_seed),
      stream_((static_cast<std::uint32_t>(site) + 4 * layer) << 16U) {}

// Multiply elements whose columns are column_of(0), column_of(1), ...
template <typename Real, typename ColumnOf>
void DropoutMask::Scale(const Sequence& sequence, std::uint32_t stream,
                        std::int64_t row, std::span<Real> elements,
                        const ColumnOf& column_of) const {
  std::array<std::uint32_t, 4> words{};
  std::int64_t block = -1;
  for (std::size_t k = 0; k < elements.size(); ++k) {
    const std::int64_t column = column_of(static_cast<std::int64_t>(k));
    if (column / 4 != block) {
      block = column / 4;
      words = Philox4x32(
          seed_,
          {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(row),
           static_cast<std::uint32_t>(sequence.index), stream});
    }
    const bool keep = words[static_cast<std::size_t>(column % 4)] >= threshold_;
    elements[k] *= static_cast<Real>(keep ? scale_ : 0.0);
  }
}

template <typename Real>
void DropoutMask::Apply(const Place& place, std::span<Real> weights) const {
  Scale(place.sequence, stream_ + static_cast<std::uint32_t>(place.head),
        place.row, weights, [&](std::int64_t k) {
          return place.sequence.column(place.first_column + k);
        });
}

template <typename Real>
void DropoutMask::ApplyToRow(const Sequence& sequence, std::int64_t row,
                             std::span<Real> elements) const {
  Scale(sequence, stream_, row, elements, [](std::int64_t k) { return k; });
}

template void DropoutMask::Apply(const Place&, std::span<float>) const;
template void DropoutMask::Apply(const Place&, std::span<double>) const;
template void DropoutMask::ApplyToRow(const Sequence&, std::int64_t,
                                      std::span<float>) const;
template void DropoutMask::ApplyToRow(const Sequence&, std::int64_t,
                                      std::span<double>) const;

}  // namespace attention
