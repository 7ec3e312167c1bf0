// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/forward_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <iterator>

#include "client/cpp/cli/tensor_files.h"
#include "client/cpp/cli/usage.h"
#include "core/attention/module_spec.h"
#include "core/tensor/format_text.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_macros.h"
#include "core/usage/usage_text.h"

namespace attention {
namespace {

// A message is at most this long; so much need not be made at random.
constexpr std::int64_t kMaxRandomElements = std::int64_t{1} << 28;

// A tensor option, the name of its tensor in a file, and where it is kept.
struct TensorOption {
  const char* name;
  std::string ForwardOptions::* location;
  std::optional<Tensor> InputTensors::* tensor;
  const char* description;
};

constexpr TensorOption kOptionalTensors[] = {
    {"key", &ForwardOptions::key, &InputTensors::key,
     "Like query, width kdim (default: query)"},
    {"value", &ForwardOptions::value, &InputTensors::value,
     "Like key, width vdim (default: key)"},
    {"attn_mask", &ForwardOptions::attn_mask, &InputTensors::attn_mask,
     "(L,S) or (N*H,L,S); bool: true is masked; float: added"},
    {"key_padding_mask", &ForwardOptions::key_padding_mask,
     &InputTensors::key_padding_mask,
     "(N,S); bool: true is padding; float: added"},
    {"valid_lens", &ForwardOptions::valid_lens, &InputTensors::valid_lens,
     "(N) or (N,L) int32 or int64: keys beyond are padding"},
};

std::string FlagOf(std::string name) {
  for (char& character : name) {
    if (character == '_') character = '-';
  }
  return "--" + name;
}

// Read whole numbers, none negative, separated by one of `separators`.
// \return nothing when the text is anything else.
std::optional<std::vector<std::int64_t>> ParseNumbers(
    std::string_view text, std::string_view separators) {
  std::vector<std::int64_t> numbers;
  for (;;) {
    const char* const end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(
        text.data(), text.data() + text.size(), numbers.emplace_back());
    if (error != std::errc() || numbers.back() < 0) return std::nullopt;
    if (parsed == end) return numbers;
    if (separators.find(*parsed) == std::string_view::npos) {
      return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(parsed - text.data()) + 1);
  }
}

CLI::Option* AddRandom(CLI::App& command, ForwardOptions& options) {
  return command
      .add_option_function<std::string>(
          "--random",
          [&options](const std::string& text) {
            const auto dims = ParseNumbers(text, ",x");
            if (!dims || dims->size() < 2 || dims->size() > 3) {
              throw CLI::ValidationError(
                  "--random", FormatText("got '{}', expected N,L,E or L,E, "
                                         "such as 2,50,256 or 50x256",
                                         text));
            }
            options.random = *dims;
          },
          "Random query of N,L,E or L,E instead, uniform in [-1,1); laid out "
          "as the module wants it")
      ->type_name("N,L,E");
}

CLI::Option* AddLengths(CLI::App& command, const std::string& flag,
                        std::vector<std::int64_t>& lengths,
                        const std::string& description) {
  return command
      .add_option_function<std::string>(
          flag,
          [flag, &lengths](const std::string& text) {
            const auto numbers = ParseNumbers(text, ",");
            if (!numbers) {
              throw CLI::ValidationError(
                  flag, FormatText("got '{}', expected whole numbers "
                                   "separated by commas, such as 12,7,30",
                                   text));
            }
            lengths = *numbers;
          },
          description)
      ->type_name("N,N,...");
}

void AddTensorOptions(CLI::App& command, ForwardOptions& options) {
  constexpr char kGroup[] =
      "Tensors (each FILE.npy or FILE.safetensors[:TENSOR])";
  CLI::Option* const query = command.add_option(
      "--query", options.query, "(L,E), (L,N,E), or (N,L,E) if batch first");
  query->group(kGroup)->type_name("FILE")->check(CheckTensorLocation);
  for (const TensorOption& option : kOptionalTensors) {
    command
        .add_option(FlagOf(option.name), options.*option.location,
                    option.description)
        ->group(kGroup)
        ->type_name("FILE")
        ->check(CheckTensorLocation);
  }
  CLI::Option* const inputs = command.add_option(
      "--inputs", options.inputs,
      "A .safetensors file holding them as query, key, value, attn_mask, "
      "key_padding_mask, valid_lens; single options override it");
  inputs->group(kGroup)->type_name("FILE")->check(CheckExistingFile);
  AddRandom(command, options)->group(kGroup)->excludes(query)->excludes(inputs);
  command.add_option("--seed", options.seed, "Seed of --random")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->check(CheckSeed);
  AddChoice<DataType, DataType>(command, "--dtype", options.dtype,
                                {{"float32", DataType::kFloat32},
                                 {"float64", DataType::kFloat64},
                                 {"float16", DataType::kFloat16},
                                 {"bfloat16", DataType::kBFloat16}})
      ->group(kGroup)
      ->description("dtype of --random (float32)");
}

void AddMaskOptions(CLI::App& command, ForwardOptions& options) {
  constexpr char kGroup[] = "What to compute";
  AddChoice<Causal, Causal>(
      command, "--causal", options.causal,
      {{"top-left", Causal::kTopLeft}, {"bottom-right", Causal::kBottomRight}})
      ->group(kGroup)
      ->description("Causal mask, aligned to the first or the last key");
  command
      .add_flag("--is-causal", options.is_causal,
                "torch's hint; needs --attn-mask")
      ->group(kGroup);
  AddChoice<MaskedRowPolicy, MaskedRowPolicy>(
      command, "--masked-row-policy", options.masked_row_policy,
      {{"torch", MaskedRowPolicy::kTorch},
       {"zero", MaskedRowPolicy::kZero},
       {"nan", MaskedRowPolicy::kNaN}})
      ->group(kGroup)
      ->description("What a query that sees no key yields (torch)");
  AddLengths(command, "--query-lengths", options.query_lengths,
             "Ragged batch: lengths of the sequences packed in query")
      ->group(kGroup);
  AddLengths(command, "--key-lengths", options.key_lengths,
             "The same for key (default: --query-lengths)")
      ->group(kGroup);
}

void AddResultOptions(CLI::App& command, ForwardOptions& options) {
  constexpr char kGroup[] = "What to compute";
  command
      .add_flag("--need-weights", options.need_weights,
                "Also return the attention weights, averaged over the heads")
      ->group(kGroup);
  command
      .add_flag("--per-head", options.per_head,
                "Return the weights of each head; implies --need-weights")
      ->group(kGroup);
  CLI::Option* const training = command.add_flag("--training", options.training,
                                                 "Apply the module's dropout");
  training->group(kGroup);
  command
      .add_option("--dropout-seed", options.dropout_seed,
                  "The same seed drops the same weights")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->check(CheckSeed)
      ->needs(training);
}

absl::StatusOr<InputTensors> MakeRandom(const ForwardOptions& options,
                                        const AttentionSpec& spec) {
  std::vector<std::int64_t> dims = options.random;
  if (dims.size() == 3 && !spec.batch_first) std::swap(dims[0], dims[1]);
  const auto make = [&](std::int64_t width,
                        std::uint32_t stream) -> absl::StatusOr<Tensor> {
    dims.back() = width;
    ATTENTION_ASSIGN_OR_RETURN(const Shape shape, Shape::Create(dims));
    if (shape.num_elements() > kMaxRandomElements) {
      return absl::InvalidArgumentError(
          FormatText("--random asks for {} elements, expected at most {}",
                     shape.num_elements(), kMaxRandomElements));
    }
    return RandomTensor(options.dtype, shape, options.seed, stream);
  };
  InputTensors tensors;
  ATTENTION_ASSIGN_OR_RETURN(tensors.query, make(dims.back(), /*stream=*/0));
  if (spec.key_dim != spec.query_dim || spec.value_dim != spec.key_dim) {
    ATTENTION_ASSIGN_OR_RETURN(tensors.key, make(spec.key_dim, /*stream=*/1));
    ATTENTION_ASSIGN_OR_RETURN(tensors.value,
                               make(spec.value_dim, /*stream=*/2));
  }
  return tensors;
}

absl::StatusOr<InputTensors> MakeRandomFor(const ForwardOptions& options,
                                           std::string_view module,
                                           const AttentionClient& client) {
  ATTENTION_ASSIGN_OR_RETURN(const ModuleDescription description,
                             client.GetModule(module));
  if (!description.config) {
    return absl::FailedPreconditionError(FormatText(
        "module {} is {}, so its shapes are not known; load it first with "
        "`attention-client modules load {}`",
        module, description.state_name(), module));
  }
  return MakeRandom(options, SpecOf(*description.config).attention);
}

// Say that a file lacks a tensor, and how to name the one that was meant.
absl::Status MissingTensor(const ForwardOptions& options, const char* name,
                           const NamedTensors& tensors) {
  const std::string how =
      FormatText("name one with {} {}:TENSOR", FlagOf(name), options.inputs);
  return absl::NotFoundError(FormatText("{}: {}", options.inputs,
                                        DescribeMissing(name, tensors, how)));
}

// Tell whether a tensor of the file was meant to have this name: it is none of
// the options', and would be ignored.
bool IsMisspelt(std::string_view name, const NamedTensors& tensors) {
  std::vector<std::string> others;
  for (const auto& [there, tensor] : tensors) {
    const bool known =
        there == "query" ||
        std::ranges::find(kOptionalTensors, there, &TensorOption::name) !=
            std::end(kOptionalTensors);
    if (!known) others.push_back(there);
  }
  return !NearestName(name, others).empty();
}

// Take over the tensors that a file holds under the options' names.
absl::Status ReadInputsFile(const ForwardOptions& options,
                            InputTensors& tensors) {
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsFile file,
                             ReadSafetensorsFile(options.inputs));
  const NamedTensors& named = file.view().tensors();
  if (const auto query = named.find("query"); query != named.end()) {
    tensors.query = Tensor::Copy(query->second);
  } else if (options.query.empty()) {
    return MissingTensor(options, "query", named);
  }
  for (const TensorOption& option : kOptionalTensors) {
    const auto tensor = named.find(option.name);
    if (tensor != named.end()) {
      tensors.*option.tensor = Tensor::Copy(tensor->second);
    } else if ((options.*option.location).empty() &&
               IsMisspelt(option.name, named)) {
      return MissingTensor(options, option.name, named);
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddForwardOptions(CLI::App& command, ForwardOptions& options) {
  AddTensorOptions(command, options);
  AddMaskOptions(command, options);
  AddResultOptions(command, options);
  command.parse_complete_callback([&options] {
    if (options.query.empty() && options.inputs.empty() &&
        options.random.empty()) {
      throw CLI::RequiredError(
          "one of --query FILE, --inputs FILE.safetensors or --random N,L,E");
    }
    if (options.per_head) options.need_weights = true;
  });
}

absl::StatusOr<InputTensors> LoadInputs(const ForwardOptions& options,
                                        std::string_view module,
                                        const AttentionClient& client) {
  InputTensors tensors;
  if (!options.random.empty()) {
    ATTENTION_ASSIGN_OR_RETURN(tensors, MakeRandomFor(options, module, client));
  }
  if (!options.inputs.empty()) {
    ATTENTION_RETURN_IF_ERROR(ReadInputsFile(options, tensors));
  }
  if (!options.query.empty()) {
    ATTENTION_ASSIGN_OR_RETURN(tensors.query,
                               ReadTensorFile(options.query, "query"));
  }
  for (const TensorOption& option : kOptionalTensors) {
    const std::string& location = options.*option.location;
    if (location.empty()) continue;
    ATTENTION_ASSIGN_OR_RETURN(tensors.*option.tensor,
                               ReadTensorFile(location, option.name));
  }
  return tensors;
}

AttentionInputs MakeInputs(const ForwardOptions& options,
                           const InputTensors& tensors) {
  const auto view =
      [](const std::optional<Tensor>& tensor) -> std::optional<TensorView> {
    if (!tensor) return std::nullopt;
    return tensor->view();
  };
  return {.query = tensors.query.view(),
          .key = view(tensors.key),
          .value = view(tensors.value),
          .attn_mask = view(tensors.attn_mask),
          .key_padding_mask = view(tensors.key_padding_mask),
          .valid_lens = view(tensors.valid_lens),
          .causal = options.causal,
          .is_causal = options.is_causal,
          .need_weights = options.need_weights,
          .average_attn_weights = !options.per_head,
          .masked_row_policy = options.masked_row_policy,
          .training = options.training,
          .dropout_seed = options.dropout_seed,
          .query_lengths = options.query_lengths,
          .key_lengths = options.key_lengths};
}

}  // namespace attention
