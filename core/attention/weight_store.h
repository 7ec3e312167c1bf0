// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "core/attention/weights.h"

namespace attention {

/// A module's weights as somebody holds them, given out layer by layer, so that
/// who computes with them only now and then needs no copy of all. Immutable and
/// thread-safe.
class WeightStore {
 public:
  virtual ~WeightStore() = default;

  /// A copy of a layer's weights. Throws std::bad_alloc, or another
  /// std::exception where they cannot be unpacked.
  [[nodiscard]] virtual LayerWeights Layer(std::size_t index) const = 0;
  /// A copy of the final norm, if there is one. Throws std::bad_alloc.
  [[nodiscard]] virtual std::optional<NormWeights> FinalNorm() const = 0;
  /// Memory that the store takes.
  [[nodiscard]] virtual std::size_t memory_bytes() const = 0;
};

/// Make a store of weights as they are.
[[nodiscard]] std::shared_ptr<const WeightStore> MakeWeightStore(
    ModuleWeights weights);

}  // namespace attention
