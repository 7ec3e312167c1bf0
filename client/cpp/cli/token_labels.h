// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attention {

/// The labels of one axis: a list that holds for every sequence of a request,
/// or one list for each. Empty: the axis is numbered.
using TokenLists = std::vector<std::vector<std::string>>;

/// Labels of the rows and columns of a request's weights.
struct HeatmapLabels {
  TokenLists queries;
  TokenLists keys;
};

/// Read labels from a file whose name ends in .json, an array of strings or an
/// array of such arrays, or from another, one label in each line.
/// \return NOT_FOUND when it cannot be opened, INVALID_ARGUMENT when it is no
///   such JSON or has no labels.
[[nodiscard]] absl::StatusOr<TokenLists> ReadTokenFile(
    const std::filesystem::path& path);

/// What the labels of an axis must fit.
struct LabelledAxis {
  std::string_view name;  ///< in error texts: "--key-tokens"
  std::size_t num_sequences = 1;
  std::size_t count = 0;  ///< rows or columns of the weights
  /// How many of them each sequence of a ragged batch has; empty: all.
  std::vector<std::int64_t> lengths = {};
  /// Labels of the columns the module appends behind them.
  std::vector<std::string> appended = {};
};

/// Check that there are `count` labels, or as many as a sequence has queries
/// or keys, and complete these by "(padding)" and those of appended columns.
/// \return INVALID_ARGUMENT when their number is another.
[[nodiscard]] absl::StatusOr<TokenLists> FitLabels(TokenLists labels,
                                                   const LabelledAxis& axis);

/// The labels of one sequence; none when the axis is numbered.
[[nodiscard]] const std::vector<std::string>& LabelsOf(const TokenLists& labels,
                                                       std::size_t sequence);

}  // namespace attention
