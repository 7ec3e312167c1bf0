// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/forward_options.h"

#include <CLI/CLI.hpp>
#include <format>
#include <map>

#include "client/cpp/cli/tensor_files.h"
#include "core/attention/module_spec.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_macros.h"

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

void AddTensorOptions(CLI::App& command, ForwardOptions& options) {
  constexpr char kGroup[] =
      "Tensors (each FILE.npy or FILE.safetensors[:TENSOR])";
  CLI::Option* const query = command.add_option(
      "--query", options.query, "(L,E), (L,N,E), or (N,L,E) if batch first");
  query->group(kGroup)->type_name("FILE");
  for (const TensorOption& option : kOptionalTensors) {
    command
        .add_option(FlagOf(option.name), options.*option.location,
                    option.description)
        ->group(kGroup)
        ->type_name("FILE");
  }
  CLI::Option* const inputs = command.add_option(
      "--inputs", options.inputs,
      "A .safetensors file holding them as query, key, value, attn_mask, "
      "key_padding_mask, valid_lens; single options override it");
  inputs->group(kGroup)->check(CLI::ExistingFile);
  CLI::Option* const random =
      command.add_option("--random", options.random,
                         "Random query of N,L,E or L,E instead, uniform in "
                         "[-1,1); laid out as the module wants it");
  random->group(kGroup)->delimiter(',')->expected(2, 3)->excludes(query);
  random->excludes(inputs)->check(CLI::NonNegativeNumber);
  random->type_name("N,L,E");
  command.add_option("--seed", options.seed, "Seed of --random")
      ->group(kGroup)
      ->capture_default_str();
  static const std::map<std::string, DataType> kDtypes = {
      {"float32", DataType::kFloat32},
      {"float64", DataType::kFloat64},
      {"float16", DataType::kFloat16},
      {"bfloat16", DataType::kBFloat16}};
  command.add_option("--dtype", options.dtype, "dtype of --random (float32)")
      ->group(kGroup)
      ->transform(CLI::CheckedTransformer(kDtypes).description(
          "{float32,float64,float16,bfloat16}"));
}

void AddMaskOptions(CLI::App& command, ForwardOptions& options) {
  constexpr char kGroup[] = "What to compute";
  static const std::map<std::string, Causal> kCausals = {
      {"top-left", Causal::kTopLeft}, {"bottom-right", Causal::kBottomRight}};
  command
      .add_option("--causal", options.causal,
                  "Causal mask, aligned to the first or the last key")
      ->group(kGroup)
      ->transform(CLI::CheckedTransformer(kCausals).description(
          "{top-left,bottom-right}"));
  command
      .add_flag("--is-causal", options.is_causal,
                "torch's hint; needs --attn-mask")
      ->group(kGroup);
  static const std::map<std::string, MaskedRowPolicy> kPolicies = {
      {"torch", MaskedRowPolicy::kTorch},
      {"zero", MaskedRowPolicy::kZero},
      {"nan", MaskedRowPolicy::kNaN}};
  command
      .add_option("--masked-row-policy", options.masked_row_policy,
                  "What a query that sees no key yields (torch)")
      ->group(kGroup)
      ->transform(
          CLI::CheckedTransformer(kPolicies).description("{torch,zero,nan}"));
  command
      .add_option("--query-lengths", options.query_lengths,
                  "Ragged batch: lengths of the sequences packed in query")
      ->group(kGroup)
      ->delimiter(',');
  command
      .add_option("--key-lengths", options.key_lengths,
                  "The same for key (default: --query-lengths)")
      ->group(kGroup)
      ->delimiter(',');
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
          std::format("--random asks for {} elements, expected at most {}",
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
    return absl::FailedPreconditionError(std::format(
        "module {} is {}, so its shapes are not known; load it first with "
        "`attention-client modules load {}`",
        module, description.state_name(), module));
  }
  return MakeRandom(options, SpecOf(*description.config).attention);
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
    return absl::NotFoundError(
        std::format("{} has no tensor \"query\"; name one with --query FILE",
                    options.inputs));
  }
  for (const TensorOption& option : kOptionalTensors) {
    const auto tensor = named.find(option.name);
    if (tensor == named.end()) continue;
    tensors.*option.tensor = Tensor::Copy(tensor->second);
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
          "--query FILE, --inputs FILE.safetensors or --random N,L,E");
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
