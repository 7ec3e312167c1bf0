// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/cli/cli.h"
#include "client/cpp/cli/tensor_files.h"
#include "client/cpp/cli/usage.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/config_codec.h"

namespace attention {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  attention-client modules list\n"
    "  attention-client modules show self_attention\n"
    "  attention-client modules load self_attention --replace\n"
    "  attention-client modules upload block block.safetensors \\\n"
    "    --config '{\"multi_head_attention\":{\"embed_dim\":64,"
    "\"num_heads\":2}}'\n"
    "  attention-client modules upload layer0 model.safetensors \\\n"
    "    --config layer.json --prefix encoder.layers.0.self_attn. --persist\n"
    "  attention-client modules unload block\n";

struct ModuleOptions {
  std::string name;
  std::string file;
  std::string config;
  std::optional<DataType> compute_dtype;
  std::string prefix;
  std::vector<std::pair<std::string, std::string>> renamed;
  bool transposed = false;
  std::vector<std::string> zero_biases;
  std::vector<std::string> ignored;
  bool replace = false;
  bool persist = false;
};

std::string DtypeToString(const std::optional<DataType>& dtype) {
  return dtype ? std::string(DataTypeName(*dtype)) : "-";
}

std::string OrDash(const std::string& text) {
  return text.empty() ? "-" : text;
}

void PrintModule(const ModuleDescription& module, std::ostream& out) {
  const std::string config =
      module.config ? ModuleConfigToJson(*module.config) : "-";
  out << FormatText(
      "name            {}\nstate           {}\nversion         {}\n"
      "config          {}\nweights dtype   {}\ncompute dtype   {}\n"
      "implementation  {}\nmemory          {} bytes\nweights digest  {}\n",
      module.name, module.state_name(), module.version, config,
      DtypeToString(module.weights_dtype), DtypeToString(module.compute_dtype),
      OrDash(module.implementation), module.memory_bytes,
      OrDash(module.weights_digest));
  if (!module.error.empty()) {
    out << FormatText("error           {}\n", module.error);
  }
}

absl::StatusOr<int> ListModules(const CommandContext& context) {
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_ASSIGN_OR_RETURN(const auto modules, client.ListModules());
  if (modules.empty()) {
    context.out
        << "no modules; add one with `attention-client modules upload`, "
           "or start the server with --modules DIR\n";
    return kExitOk;
  }
  std::size_t width = 4;
  for (const ModuleDescription& module : modules) {
    width = std::max(width, module.name.size());
  }
  context.out << FormatText("{:<{}}  {:<9}  {:>7}  {:<8}  {:>14}  {}\n", "NAME",
                            width, "STATE", "VERSION", "WEIGHTS", "BYTES",
                            "IMPLEMENTATION");
  for (const ModuleDescription& module : modules) {
    context.out << FormatText(
        "{:<{}}  {:<9}  {:>7}  {:<8}  {:>14}  {}\n", module.name, width,
        module.state_name(), module.version,
        DtypeToString(module.weights_dtype), module.memory_bytes,
        module.error.empty() ? OrDash(module.implementation)
                             : "error: " + module.error);
  }
  return kExitOk;
}

absl::StatusOr<int> ShowModule(const CommandContext& context,
                               const ModuleOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_ASSIGN_OR_RETURN(const ModuleDescription module,
                             client.GetModule(options.name));
  PrintModule(module, context.out);
  return kExitOk;
}

absl::StatusOr<int> LoadModule(const CommandContext& context,
                               const ModuleOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_ASSIGN_OR_RETURN(const ModuleDescription module,
                             client.LoadModule(options.name, options.replace));
  PrintModule(module, context.out);
  return kExitOk;
}

// Read the configuration from the command line, a file, or the weights' file,
// whose header must be that of a safetensors file in any case.
absl::StatusOr<ModuleConfig> ReadConfig(const ModuleOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsMetadata metadata,
                             ReadSafetensorsMetadata(options.file));
  if (options.config.starts_with('{')) {
    return ParseModuleConfigJson(options.config);
  }
  if (!options.config.empty()) {
    ATTENTION_ASSIGN_OR_RETURN(const std::string json,
                               ReadTextFile(options.config));
    return ParseModuleConfigJson(json);
  }
  const auto config = metadata.find("config");
  if (config == metadata.end()) {
    return absl::InvalidArgumentError(FormatText(
        "{} has no __metadata__[\"config\"]; give the module's "
        "configuration with --config FILE.json or --config '{{...}}'",
        options.file));
  }
  return ParseModuleConfigJson(config->second);
}

absl::StatusOr<int> UploadModule(const CommandContext& context,
                                 const ModuleOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(ModuleConfig config, ReadConfig(options));
  if (options.compute_dtype) SetComputeDtype(*options.compute_dtype, config);
  WeightSource source{
      .prefix = options.prefix,
      .transposed = options.transposed,
      .zero_biases = {options.zero_biases.begin(), options.zero_biases.end()},
      .ignored = {options.ignored.begin(), options.ignored.end()}};
  for (const auto& [name, stored] : options.renamed) {
    source.renamed.emplace(name, stored);
  }
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_ASSIGN_OR_RETURN(
      const ModuleDescription module,
      client.UploadModuleFile({.name = options.name,
                               .config = config,
                               .replace = options.replace,
                               .persist = options.persist,
                               .source = source},
                              options.file));
  PrintModule(module, context.out);
  return kExitOk;
}

absl::StatusOr<int> UnloadModule(const CommandContext& context,
                                 const ModuleOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_RETURN_IF_ERROR(client.UnloadModule(options.name));
  context.out << FormatText("unloaded {}\n", options.name);
  return kExitOk;
}

using ModuleAction = absl::StatusOr<int> (*)(const CommandContext&,
                                             const ModuleOptions&);

void Select(CLI::App& command, const std::shared_ptr<ModuleOptions>& options,
            ModuleAction action, Command& selected) {
  command.callback([options, action, &selected] {
    selected = [options, action](const CommandContext& context) {
      return action(context, *options);
    };
  });
}

// How the file differs from what the module calls its weights.
void AddNamesOptions(CLI::App& command, ModuleOptions& options) {
  command
      .add_option("--prefix", options.prefix,
                  "Prefix of the weights' names in the file")
      ->type_name("PREFIX");
  command
      .add_option("--rename", options.renamed,
                  "A part of the weights' names and what the file calls it, "
                  "such as 'linear1 ffn.0'; repeatable")
      ->type_name("PART STORED");
  command.add_flag("--transposed", options.transposed,
                   "The file's matrices are (in, out), for y = x W");
  command
      .add_option("--zero-bias", options.zero_biases,
                  "A bias of the module that the file does not have and that "
                  "is zero, such as k_proj.bias; repeatable")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command
      .add_option("--ignore", options.ignored,
                  "A tensor of the file, behind the prefix, that is not the "
                  "module's, or the beginning of such names, such as "
                  "masked_bias or norm1; repeatable")
      ->type_name("NAME")
      ->allow_extra_args(false);
}

void AddUploadOptions(CLI::App& command, ModuleOptions& options) {
  command
      .add_option("FILE", options.file,
                  "Weights: a .safetensors file with PyTorch's names")
      ->required()
      ->type_name("")
      ->check(CheckExistingFile);
  command
      .add_option("--config", options.config,
                  "Configuration: a JSON file, or JSON text beginning with '{' "
                  "(default: \"config\" of the file's __metadata__)")
      ->type_name("JSON");
  AddChoice<std::optional<DataType>, DataType>(
      command, "--compute-dtype", options.compute_dtype,
      {{"float32", DataType::kFloat32}, {"bfloat16", DataType::kBFloat16}})
      ->description(
          "What to compute in, instead of what the configuration says; "
          "bfloat16 is faster and keeps 2 or 3 digits");
  AddNamesOptions(command, options);
  command.add_flag("--replace", options.replace,
                   "Replace a served module of this name");
  command.add_flag("--persist", options.persist,
                   "Also store it in the server's repository");
}

}  // namespace

void AddModulesCommand(CLI::App& app, Command& selected) {
  const auto options = std::make_shared<ModuleOptions>();
  CLI::App& modules =
      *app.add_subcommand("modules", "List, describe, add and remove modules");
  modules.footer(kFooter);
  modules.require_subcommand(1);

  CLI::App& list = *modules.add_subcommand(
      "list", "List served modules and those of the repository");
  list.footer("Example:\n  attention-client modules list\n");
  list.callback([&selected] { selected = ListModules; });

  const auto add = [&](const char* name, const char* description,
                       const char* footer, ModuleAction action) -> CLI::App& {
    CLI::App& command = *modules.add_subcommand(name, description);
    command.add_option("NAME", options->name, "Name of the module")
        ->required()
        ->type_name("");
    command.footer(footer);
    Select(command, options, action, selected);
    return command;
  };
  add("show", "Describe one module",
      "Example:\n  attention-client modules show self_attention\n", ShowModule);
  add("load", "Serve a module of the server's repository",
      "Example:\n  attention-client modules load self_attention --replace\n",
      LoadModule)
      .add_flag("--replace", options->replace,
                "Replace a served module of this name");
  AddUploadOptions(add("upload", "Serve a module from a file of yours", kFooter,
                       UploadModule),
                   *options);
  add("unload", "Stop serving a module; its files stay",
      "Example:\n  attention-client modules unload block\n", UnloadModule);
}

}  // namespace attention
