// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/attention/packed_batch.h"

namespace attention {

/// The dropout mask of a request: element (n, h, i, j) is dropped with
/// probability p, else scaled by 1 / (1 - p).
///
/// Whether it is dropped depends on the seed and on (n, h, i, j) alone: on word
/// j mod 4 of Philox4x32(seed, {j / 4, i, n, h}), dropped where the word is
/// below p * 2^32. Heads take the lower 16 bits of the last counter; the upper
/// ones tell layers and dropout sites apart and are 0 here.
/// Thread-safe.
class DropoutMask {
 public:
  DropoutMask(double probability, std::uint64_t seed);

  [[nodiscard]] bool active() const { return threshold_ > 0; }

  /// Multiply the sequence.num_columns() elements of `weights`, the row of
  /// `head` and query position `row`, each by 0 or by 1 / (1 - p). NaN stays
  /// NaN, as in torch.nn.functional.dropout.
  template <typename Real>
  void Apply(const Sequence& sequence, std::int64_t head, std::int64_t row,
             Real* weights) const;

 private:
  std::uint64_t threshold_;  // in [0, 2^32]
  double scale_;
  std::uint64_t seed_;
};

}  // namespace attention
