// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"

namespace attention {

/// One head's attention weights, or their mean over the heads: a matrix of
/// queries (rows) by keys (columns).
struct WeightsPanel {
  std::string title;  ///< "sequence 0, head 3"
  std::string head;   ///< "head 3"
  std::size_t sequence = 0;
  std::size_t num_rows = 0;
  std::size_t num_columns = 0;
  std::vector<double> values;  ///< row-major; NaN allowed

  [[nodiscard]] double at(std::size_t row, std::size_t column) const {
    return values[row * num_columns + column];
  }
  /// The largest finite value, at least 0.
  [[nodiscard]] double max() const;
  /// The rows with no value but NaN: queries that see no key.
  [[nodiscard]] std::vector<std::size_t> nan_rows() const;
};

/// The weights of a request as panels: each head of each sequence, in this
/// order. Lifetime: borrows the tensor. One panel at a time is in memory.
class WeightsPanels {
 public:
  /// Weights of shape ([N,] [H,] L, S').
  /// \param per_head whether the dimension before the last two is the heads;
  ///   the rank then tells whether there is a batch.
  WeightsPanels(const TensorView& weights, bool per_head);

  [[nodiscard]] bool batched() const { return batched_; }
  [[nodiscard]] bool per_head() const { return per_head_; }
  [[nodiscard]] std::size_t num_sequences() const { return num_sequences_; }
  [[nodiscard]] std::size_t num_heads() const { return num_heads_; }
  [[nodiscard]] std::size_t num_rows() const { return num_rows_; }
  [[nodiscard]] std::size_t num_columns() const { return num_columns_; }
  [[nodiscard]] std::size_t size() const { return num_sequences_ * num_heads_; }

  /// Read a panel; `index` is below size().
  [[nodiscard]] WeightsPanel Read(std::size_t index) const;
  /// The largest finite weight of all panels, at least 0: the end of their
  /// common scale.
  [[nodiscard]] double Max() const;

 private:
  TensorView weights_;
  bool batched_;
  bool per_head_;
  std::size_t num_sequences_;
  std::size_t num_heads_;
  std::size_t num_rows_;
  std::size_t num_columns_;
};

/// The first of `total` elements that lie in cell `cell` of `num_cells`; with
/// cell + 1, the end of them.
[[nodiscard]] constexpr std::size_t CellStart(std::size_t cell,
                                              std::size_t num_cells,
                                              std::size_t total) {
  return cell * total / num_cells;
}

/// Shrink a panel so that it has at most this many rows and columns. Each cell
/// of the result is the largest weight of a block, so that one key which a
/// query attends to stays as bright as it was among hundreds it ignores. NaN
/// does not count unless the whole block is NaN.
[[nodiscard]] WeightsPanel Subsample(const WeightsPanel& panel,
                                     std::size_t max_rows,
                                     std::size_t max_columns);

/// Say how a panel was shrunk: "32 x 36 cells, each the largest of up to 16 x
/// 15 weights".
[[nodiscard]] std::string ShrinkageToString(const WeightsPanel& shrunk,
                                            const WeightsPanel& panel);

}  // namespace attention
