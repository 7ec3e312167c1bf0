// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/request_plan.h"

namespace attention {

/// Where in a module dropout is applied.
enum class DropoutSite : std::uint32_t {
  kWeights = 0,      ///< the attention weights
  kAttention = 1,    ///< an encoder layer's attention (torch: dropout1)
  kActivation = 2,   ///< inside its feed-forward network (torch: dropout)
  kFeedForward = 3,  ///< its feed-forward network (torch: dropout2)
};

/// The dropout mask of a request at one site of one layer: an element is
/// dropped with probability p, else scaled by 1 / (1 - p).
///
/// Whether element (n, h, i, j) of the attention weights is dropped depends on
/// the seed and on its place alone: on word j mod 4 of
///
///   Philox4x32(seed, {j / 4, i, n, h + 2^16 (site + 4 layer)}),
///
/// dropped where the word is below p * 2^32. At the other sites, of rows of
/// queries, j counts the row's elements and h is 0. Thread-safe.
class DropoutMask {
 public:
  /// The mask of a request at a site of a layer, counted from 0, with p =
  /// request.dropout.
  DropoutMask(const RequestPlan& request, std::uint32_t layer,
              DropoutSite site);

  [[nodiscard]] bool active() const { return threshold_ > 0; }

  /// A part of a row of weights.
  struct Place {
    const Sequence& sequence;
    std::int64_t head;
    std::int64_t row;           ///< query position
    std::int64_t first_column;  ///< score column of the part's first element
  };
  /// Multiply weights each by 0 or by 1 / (1 - p). NaN stays NaN, as in
  /// torch.nn.functional.dropout.
  template <typename Real>
  void Apply(const Place& place, std::span<Real> weights) const;

  /// Multiply a row of elements, of query position `row`, likewise.
  template <typename Real>
  void ApplyToRow(const Sequence& sequence, std::int64_t row,
                  std::span<Real> elements) const;

 private:
  template <typename Real, typename ColumnOf>
  void Scale(const Sequence& sequence, std::uint32_t stream, std::int64_t row,
             std::span<Real> elements, const ColumnOf& column_of) const;

  std::uint64_t threshold_;  // in [0, 2^32]
  double scale_;
  std::uint64_t seed_;
  std::uint32_t stream_;  // the upper half of the last counter
};

}  // namespace attention
