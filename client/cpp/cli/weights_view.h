// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/cli/cli.h"
#include "client/cpp/cli/token_labels.h"
#include "core/tensor/tensor.h"

namespace attention {

/// The options that say how a request's weights are shown.
struct WeightsViewOptions {
  bool terminal = false;
  std::string html;          ///< path of the page; empty: none
  std::string query_tokens;  ///< paths of labels; empty: numbers
  std::string key_tokens;
};

/// Declare the options on a subcommand.
void AddWeightsViewOptions(CLI::App& command, const std::string& group,
                           WeightsViewOptions& options);

/// Refuse labels that nothing shows, by CLI11's exception.
void CheckWeightsViewOptions(const WeightsViewOptions& options);

/// Weights of an answer, and what else of its request they are shown with.
struct WeightsView {
  std::string module;
  TensorView weights;  ///< ([N,] [H,] L, S')
  bool per_head = false;
  HeatmapLabels labels = {};
  std::vector<std::int64_t> query_lengths = {};  ///< of a ragged batch
  std::vector<std::int64_t> key_lengths = {};
};

/// Read the files of labels. Where keys are the queries, they have their
/// labels unless others are given.
/// \return the errors of ReadTokenFile.
[[nodiscard]] absl::StatusOr<HeatmapLabels> LoadLabels(
    const WeightsViewOptions& options, bool keys_are_queries);

/// Draw weights in the terminal and write their page. The server is asked for
/// the module's configuration when there are fewer labels than keys.
/// \return INVALID_ARGUMENT when the labels do not fit, INTERNAL when the
///   weights have another rank or the page cannot be written, and the errors
///   of AttentionClient::GetModule.
[[nodiscard]] absl::Status ShowWeights(WeightsView view,
                                       const WeightsViewOptions& options,
                                       const AttentionClient& client,
                                       const CommandContext& context);

}  // namespace attention
