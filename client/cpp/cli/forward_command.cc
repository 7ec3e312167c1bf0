// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

#include "client/cpp/cli/cli.h"
#include "client/cpp/cli/compare.h"
#include "client/cpp/cli/forward_options.h"
#include "client/cpp/cli/tensor_files.h"
#include "client/cpp/cli/tensor_summary.h"
#include "client/cpp/cli/usage.h"
#include "client/cpp/cli/weights_view.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

constexpr char kFooter[] =
    "Prints shapes, values and timings unless --output takes the tensors.\n"
    "\n"
    "Examples:\n"
    "  attention-client forward block --random 2,50,256 --seed 7 --weights\n"
    "  attention-client forward block --query q.npy --key kv.npy \\\n"
    "    --key-padding-mask padding.npy --output answer.npy\n"
    "  attention-client forward block --inputs case.safetensors --per-head \\\n"
    "    --expect answer.safetensors --weights-html weights.html\n"
    "  attention-client forward block --query q.npy --weights \\\n"
    "    --query-tokens words.txt\n"
    "  attention-client forward block --query model.safetensors:x \\\n"
    "    --causal top-left --output answer.safetensors --need-weights\n";

using Milliseconds = std::chrono::duration<double, std::milli>;

struct ForwardCommandOptions {
  std::string module;
  ForwardOptions forward;
  std::string output;
  std::string expect;
  WeightsViewOptions weights;
};

void PrintSummary(const ForwardResult& result, Milliseconds round_trip,
                  std::ostream& out) {
  out << SummarizeTensor("output", result.output());
  if (result.weights()) out << SummarizeTensor("weights", *result.weights());
  const ServerTiming timing = result.timing();
  out << FormatText(
      "module version {}, computed with {} request(s) in its batch\n"
      "round trip {:.3f} ms; in the server: decode {:.3f}, queue {:.3f}, "
      "compute {:.3f}, in all {:.3f} ms\n",
      result.module_version(), result.batch_size(), round_trip.count(),
      Milliseconds(timing.decode).count(), Milliseconds(timing.queue).count(),
      Milliseconds(timing.compute).count(), Milliseconds(timing.total).count());
}

// Compare one tensor; false when it is not what the file expects.
bool Agrees(std::string_view name, const TensorView& got,
            const NamedTensors& expected, std::ostream& out) {
  const auto comparison = CompareWithExpected(name, got, expected);
  if (!comparison.ok()) {
    out << FormatText("{} DIFFERS: {}\n", name,
                      StatusText(comparison.status()));
    return false;
  }
  if (!comparison->has_value()) {
    out << FormatText("{} is not in the expected file: not compared\n", name);
    return true;
  }
  out << ComparisonToString(name, got.shape, **comparison) << '\n';
  return (*comparison)->agrees();
}

absl::StatusOr<int> CheckExpected(const ForwardResult& result,
                                  const SafetensorsFile& file,
                                  std::ostream& out) {
  const NamedTensors& expected = file.view().tensors();
  const auto has = [&expected](const char* name) {
    return expected.contains(name) ||
           expected.contains(std::string(name) + ".values");
  };
  if (!has("output") && !(has("weights") && result.weights())) {
    return absl::NotFoundError(
        "the --expect file has neither output nor output.positions and "
        "output.values: nothing to compare");
  }
  bool agrees = Agrees("output", result.output(), expected, out);
  if (result.weights()) {
    agrees &= Agrees("weights", *result.weights(), expected, out);
  } else if (has("weights")) {
    out << "weights were not asked for: not compared (use --need-weights)\n";
  }
  return agrees ? kExitOk : kExitDiffers;
}

absl::Status WriteOutput(const ForwardResult& result, const std::string& path) {
  NamedTensors tensors = {{"output", result.output()}};
  if (result.weights()) tensors.emplace("weights", *result.weights());
  return WriteTensorFile(path, tensors);
}

// Show or store an answer.
absl::Status Deliver(const CommandContext& context,
                     const ForwardCommandOptions& options,
                     const ForwardResult& result, Milliseconds round_trip) {
  if (options.output.empty()) {
    PrintSummary(result, round_trip, context.out);
    return absl::OkStatus();
  }
  ATTENTION_RETURN_IF_ERROR(WriteOutput(result, options.output));
  context.out << FormatText("wrote {}\n", options.output);
  return absl::OkStatus();
}

WeightsView ViewOf(const ForwardResult& result,
                   const ForwardCommandOptions& options, HeatmapLabels labels) {
  return {.module = options.module,
          .weights = *result.weights(),
          .per_head = options.forward.per_head,
          .labels = std::move(labels),
          .query_lengths = options.forward.query_lengths,
          .key_lengths = options.forward.key_lengths};
}

absl::StatusOr<int> RunForward(const CommandContext& context,
                               const ForwardCommandOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_ASSIGN_OR_RETURN(
      const InputTensors tensors,
      LoadInputs(options.forward, options.module, client));
  const AttentionInputs inputs = MakeInputs(options.forward, tensors);
  ATTENTION_ASSIGN_OR_RETURN(
      HeatmapLabels labels,
      LoadLabels(options.weights, /*keys_are_queries=*/!inputs.key));
  const auto sent = std::chrono::steady_clock::now();
  ATTENTION_ASSIGN_OR_RETURN(const ForwardResult result,
                             client.Forward(options.module, inputs));
  const Milliseconds round_trip = std::chrono::steady_clock::now() - sent;
  ATTENTION_RETURN_IF_ERROR(Deliver(context, options, result, round_trip));
  if (result.weights()) {
    ATTENTION_RETURN_IF_ERROR(
        ShowWeights(ViewOf(result, options, std::move(labels)), options.weights,
                    client, context));
  }
  if (options.expect.empty()) return kExitOk;
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsFile expected,
                             ReadSafetensorsFile(options.expect));
  return CheckExpected(result, expected, context.out);
}

void AddAnswerOptions(CLI::App& command, ForwardCommandOptions& options) {
  constexpr char kGroup[] = "What to do with the answer";
  command
      .add_option("--output", options.output,
                  "Write output (and weights) to a .safetensors file, or "
                  "output alone to a .npy file")
      ->group(kGroup)
      ->type_name("FILE")
      ->check([](const std::string& path) {
        return path.ends_with(".npy") || path.ends_with(".safetensors")
                   ? std::string()
                   : FormatText(
                         "got '{}', expected a name ending in "
                         ".safetensors or .npy",
                         path);
      });
  command
      .add_option("--expect", options.expect,
                  "Compare with output and weights of this .safetensors file "
                  "(or NAME.positions and NAME.values) at torch.testing's "
                  "tolerances; exit code 3 beyond them")
      ->group(kGroup)
      ->type_name("FILE")
      ->check(CheckExistingFile);
  AddWeightsViewOptions(command, kGroup, options.weights);
}

}  // namespace

void AddForwardCommand(CLI::App& app, Command& selected) {
  const auto options = std::make_shared<ForwardCommandOptions>();
  CLI::App& command =
      *app.add_subcommand("forward", "Compute the forward pass of a module");
  command.add_option("NAME", options->module, "Name of the module")
      ->required()
      ->type_name("");
  AddForwardOptions(command, options->forward);
  AddAnswerOptions(command, *options);
  command.footer(kFooter);
  command.callback([options, &selected] {
    ForwardOptions& forward = options->forward;
    forward.per_head |= !options->weights.html.empty();
    forward.need_weights |= options->weights.terminal || forward.per_head;
    CheckWeightsViewOptions(options->weights);
    selected = [options](const CommandContext& context) {
      return RunForward(context, *options);
    };
  });
}

}  // namespace attention
