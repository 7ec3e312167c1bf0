// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/heatmap.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "client/cpp/cli/tensor_values.h"
#include "core/tensor/format_text.h"

namespace attention {
namespace {

double MaxOf(const std::vector<double>& values) {
  double max = 0.0;
  for (const double value : values) {
    if (std::isfinite(value)) max = std::max(max, value);
  }
  return max;
}

struct Block {
  std::size_t first_row, end_row, first_column, end_column;
};

double BlockMax(const WeightsPanel& panel, const Block& block) {
  double max = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t row = block.first_row; row < block.end_row; ++row) {
    for (std::size_t column = block.first_column; column < block.end_column;
         ++column) {
      max = std::fmax(max, panel.at(row, column));
    }
  }
  return max;
}

}  // namespace

double WeightsPanel::max() const { return MaxOf(values); }

std::vector<std::size_t> WeightsPanel::nan_rows() const {
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < num_rows && num_columns > 0; ++row) {
    const double* const first = values.data() + row * num_columns;
    if (std::all_of(first, first + num_columns,
                    [](double value) { return std::isnan(value); })) {
      rows.push_back(row);
    }
  }
  return rows;
}

WeightsPanels::WeightsPanels(const TensorView& weights, bool per_head)
    : weights_(weights), per_head_(per_head) {
  const Shape& shape = weights.shape;
  const std::size_t unbatched_rank = per_head ? 3 : 2;
  assert(shape.rank() == unbatched_rank || shape.rank() == unbatched_rank + 1);
  const auto dim = [&shape](std::size_t axis) {
    return static_cast<std::size_t>(shape.dim(axis));
  };
  batched_ = shape.rank() > unbatched_rank;
  num_sequences_ = batched_ ? dim(0) : 1;
  num_heads_ = per_head ? dim(shape.rank() - 3) : 1;
  num_rows_ = dim(shape.rank() - 2);
  num_columns_ = dim(shape.rank() - 1);
}

WeightsPanel WeightsPanels::Read(std::size_t index) const {
  assert(index < size());
  const std::size_t sequence = index / num_heads_;
  const std::string head =
      per_head_ ? FormatText("head {}", index % num_heads_) : "mean over heads";
  const std::size_t count = num_rows_ * num_columns_;
  return {
      .title = batched_ ? FormatText("sequence {}, {}", sequence, head) : head,
      .head = head,
      .sequence = sequence,
      .num_rows = num_rows_,
      .num_columns = num_columns_,
      .values = ReadValues(weights_, index * count, count)};
}

double WeightsPanels::Max() const {
  const std::size_t count = num_rows_ * num_columns_;
  double max = 0.0;
  for (std::size_t index = 0; index < size(); ++index) {
    max = std::max(max, MaxOf(ReadValues(weights_, index * count, count)));
  }
  return max;
}

WeightsPanel Subsample(const WeightsPanel& panel, std::size_t max_rows,
                       std::size_t max_columns) {
  assert(max_rows > 0 && max_columns > 0);
  WeightsPanel small = {.title = panel.title,
                        .head = panel.head,
                        .sequence = panel.sequence,
                        .num_rows = std::min(panel.num_rows, max_rows),
                        .num_columns = std::min(panel.num_columns, max_columns),
                        .values = {}};
  if (small.num_rows == panel.num_rows &&
      small.num_columns == panel.num_columns) {
    return panel;
  }
  small.values.reserve(small.num_rows * small.num_columns);
  for (std::size_t row = 0; row < small.num_rows; ++row) {
    for (std::size_t column = 0; column < small.num_columns; ++column) {
      small.values.push_back(BlockMax(
          panel, {.first_row = CellStart(row, small.num_rows, panel.num_rows),
                  .end_row = CellStart(row + 1, small.num_rows, panel.num_rows),
                  .first_column =
                      CellStart(column, small.num_columns, panel.num_columns),
                  .end_column = CellStart(column + 1, small.num_columns,
                                          panel.num_columns)}));
    }
  }
  return small;
}

std::string ShrinkageToString(const WeightsPanel& shrunk,
                              const WeightsPanel& panel) {
  const auto largest = [](std::size_t total, std::size_t cells) {
    return cells == 0 ? 0 : (total + cells - 1) / cells;
  };
  return FormatText("{} x {} cells, each the largest of up to {} x {} weights",
                    shrunk.num_rows, shrunk.num_columns,
                    largest(panel.num_rows, shrunk.num_rows),
                    largest(panel.num_columns, shrunk.num_columns));
}

}  // namespace attention
