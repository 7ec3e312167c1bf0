// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/weights_view.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>
#include <utility>
#include <variant>

#include "client/cpp/cli/heatmap_html.h"
#include "client/cpp/cli/heatmap_terminal.h"
#include "client/cpp/cli/tensor_files.h"
#include "client/cpp/cli/usage.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

constexpr std::size_t kMaxSmallPanels = 64;
constexpr std::size_t kMaxLargePanels = 4;

// The columns a module appends to its keys', in their order.
absl::StatusOr<std::vector<std::string>> AppendedColumns(
    const AttentionClient& client, const std::string& module) {
  ATTENTION_ASSIGN_OR_RETURN(const ModuleDescription description,
                             client.GetModule(module));
  std::vector<std::string> columns;
  if (!description.config) return columns;
  const auto* const config =
      std::get_if<MultiHeadAttentionConfig>(&*description.config);
  if (config != nullptr && config->add_bias_kv) columns.emplace_back("(bias)");
  if (config != nullptr && config->add_zero_attn) {
    columns.emplace_back("(zero)");
  }
  return columns;
}

bool IsShorterThan(const TokenLists& labels, std::size_t count) {
  return std::ranges::any_of(
      labels, [count](const auto& list) { return list.size() < count; });
}

absl::Status CompleteLabels(const WeightsPanels& panels,
                            const AttentionClient& client, WeightsView& view) {
  const LabelledAxis queries = {.name = "--query-tokens",
                                .num_sequences = panels.num_sequences(),
                                .count = panels.num_rows(),
                                .lengths = view.query_lengths};
  LabelledAxis keys = {.name = "--key-tokens",
                       .num_sequences = panels.num_sequences(),
                       .count = panels.num_columns(),
                       .lengths = view.key_lengths};
  if (keys.lengths.empty()) keys.lengths = view.query_lengths;
  ATTENTION_ASSIGN_OR_RETURN(
      view.labels.queries, FitLabels(std::move(view.labels.queries), queries));
  if (IsShorterThan(view.labels.keys, keys.count)) {
    ATTENTION_ASSIGN_OR_RETURN(keys.appended,
                               AppendedColumns(client, view.module));
  }
  ATTENTION_ASSIGN_OR_RETURN(view.labels.keys,
                             FitLabels(std::move(view.labels.keys), keys));
  return absl::OkStatus();
}

// Draw all heads small, and the first sequence's first ones large.
void DrawWeights(const WeightsPanels& panels, const HeatmapLabels& labels,
                 const CommandContext& context) {
  const double max = panels.Max();
  if (panels.size() > 1) {
    context.out << '\n'
                << RenderOverview(panels, kMaxSmallPanels, max,
                                  context.terminal);
  }
  const std::size_t num_large = std::min(
      panels.num_sequences() == 0 ? 0 : panels.num_heads(), kMaxLargePanels);
  for (std::size_t i = 0; i < num_large; ++i) {
    context.out << '\n'
                << RenderHeatmap(panels.Read(i),
                                 {.terminal = context.terminal,
                                  .max = max,
                                  .query_labels = LabelsOf(labels.queries, 0),
                                  .key_labels = LabelsOf(labels.keys, 0)});
  }
  if (num_large < panels.size()) {
    context.out << FormatText(
        "({} of {} matrices shown large, {} small; --weights-html shows "
        "more)\n",
        num_large, panels.size(), std::min(panels.size(), kMaxSmallPanels));
  }
}

}  // namespace

void AddWeightsViewOptions(CLI::App& command, const std::string& group,
                           WeightsViewOptions& options) {
  command
      .add_flag("--weights", options.terminal,
                "Draw the attention weights; implies --need-weights")
      ->group(group);
  command
      .add_option("--weights-html", options.html,
                  "Write a page with the weights of each head; implies "
                  "--per-head")
      ->group(group)
      ->type_name("FILE");
  command
      .add_option("--query-tokens", options.query_tokens,
                  "Label the queries in --weights and --weights-html: a file "
                  "with one label in each line, or a .json file with an array "
                  "of them, or with one such array for each sequence")
      ->group(group)
      ->type_name("FILE")
      ->check(CheckExistingFile);
  command
      .add_option("--key-tokens", options.key_tokens,
                  "Label the keys likewise (default: as the queries, where no "
                  "key is sent)")
      ->group(group)
      ->type_name("FILE")
      ->check(CheckExistingFile);
}

void CheckWeightsViewOptions(const WeightsViewOptions& options) {
  const bool labelled =
      !options.query_tokens.empty() || !options.key_tokens.empty();
  if (labelled && !options.terminal && options.html.empty()) {
    throw CLI::RequiredError("--weights or --weights-html, with labels,");
  }
}

absl::StatusOr<HeatmapLabels> LoadLabels(const WeightsViewOptions& options,
                                         bool keys_are_queries) {
  HeatmapLabels labels;
  if (!options.query_tokens.empty()) {
    ATTENTION_ASSIGN_OR_RETURN(labels.queries,
                               ReadTokenFile(options.query_tokens));
  }
  if (!options.key_tokens.empty()) {
    ATTENTION_ASSIGN_OR_RETURN(labels.keys, ReadTokenFile(options.key_tokens));
  } else if (keys_are_queries) {
    labels.keys = labels.queries;
  }
  return labels;
}

absl::Status ShowWeights(WeightsView view, const WeightsViewOptions& options,
                         const AttentionClient& client,
                         const CommandContext& context) {
  const std::size_t rank = view.weights.shape.rank();
  const std::size_t unbatched_rank = view.per_head ? 3 : 2;
  if (rank != unbatched_rank && rank != unbatched_rank + 1) {
    return absl::InternalError(FormatText(
        "weights of the answer: got shape {}, expected {} or {} dimensions",
        view.weights.shape.ToString(), unbatched_rank, unbatched_rank + 1));
  }
  const WeightsPanels panels(view.weights, view.per_head);
  ATTENTION_RETURN_IF_ERROR(CompleteLabels(panels, client, view));
  if (options.terminal) DrawWeights(panels, view.labels, context);
  if (options.html.empty()) return absl::OkStatus();
  ATTENTION_RETURN_IF_ERROR(WriteTextFile(
      options.html,
      RenderHeatmapPage(FormatText("Attention weights of {}", view.module),
                        panels, view.labels)));
  context.out << FormatText("wrote {}\n", options.html);
  return absl::OkStatus();
}

}  // namespace attention
