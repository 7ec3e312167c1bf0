// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/usage.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

// The command that the command line named last; the app when none.
const CLI::App& SelectedCommand(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().back();
  }
  return *command;
}

std::string FullName(const CLI::App& command) {
  const CLI::App* const parent = command.get_parent();
  return (parent == nullptr ? "" : FullName(*parent) + " ") +
         command.get_name();
}

std::vector<std::string> CommandNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* const child : command.get_subcommands({})) {
    names.push_back(child->get_name());
  }
  return names;
}

// The options of a command and of those it belongs to.
std::vector<std::string> OptionNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* app = &command; app != nullptr;
       app = app->get_parent()) {
    for (const CLI::Option* const option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        names.push_back("--" + name);
      }
    }
  }
  return names;
}

const CLI::Option* FindOption(const CLI::App& command,
                              const std::string& name) {
  for (const CLI::App* app = &command; app != nullptr;
       app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(name)) {
      return option;
    }
  }
  return nullptr;
}

// Too few or too many values; the parser's text begins with the option's name.
std::string ExplainCount(const CLI::App& command, std::string_view text) {
  const std::string name(text.substr(0, text.find_first_of(": ")));
  const CLI::Option* const option = FindOption(command, name);
  if (option == nullptr) return std::string(text);
  const auto most = static_cast<std::size_t>(option->get_items_expected_max());
  if (option->count() > most) {
    return FormatText("{} is given {} times, expected once", name,
                      option->count());
  }
  return FormatText("{0} needs a value, as in {0} {1}", name,
                    option->get_type_name());
}

// How a command is used: its commands or its examples.
std::string Usage(const CLI::App& command) {
  if (!CommandNames(command).empty()) {
    return command.help(
        command.get_parent() == nullptr ? "" : FullName(*command.get_parent()));
  }
  const std::string footer = command.get_footer();
  return footer.substr(std::min(footer.find("Example"), footer.size())) + '\n';
}

std::string ExplainMissing(const CLI::App& command, std::string_view text) {
  const std::vector<std::string> commands = CommandNames(command);
  const std::string missing =
      commands.empty() ? std::string(text)
                       : FormatText("expected a command: {}", OneOf(commands));
  return FormatText("{}error: {}\n", Usage(command), missing);
}

}  // namespace

std::string ExplainUnexpected(const CLI::App& app) {
  const std::vector<std::string> unexpected = app.remaining(/*recurse=*/true);
  if (unexpected.empty()) return {};
  const std::string& word = unexpected.front();
  const CLI::App& command = SelectedCommand(app);
  if (word.starts_with('-')) {
    const std::string name = word.substr(0, word.find('='));
    return FormatText("unknown option '{}'{}", name,
                      DidYouMean(name, OptionNames(command)));
  }
  const std::vector<std::string> commands = CommandNames(command);
  if (commands.empty()) {
    return FormatText("unexpected argument '{}'", word);
  }
  const std::string meant = DidYouMean(word, commands);
  return FormatText("unknown command '{}'{}", word,
                    meant.empty() ? ", expected " + OneOf(commands) : meant);
}

std::string ExplainUsage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = SelectedCommand(app);
  const std::string hint = FormatText("See {} --help.\n", FullName(command));
  const bool is_missing =
      dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  std::string text = error.what();
  if (is_missing || dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const std::string unexpected = ExplainUnexpected(app);
    if (unexpected.empty()) return ExplainMissing(command, text) + hint;
    text = unexpected;
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    text = ExplainCount(command, text);
  }
  return FormatText("error: {}\n{}", text, hint);
}

void CheckFlags(CLI::App& app) {
  for (CLI::Option* const option : app.get_options()) {
    if (option->get_items_expected_max() == 0) option->check(CheckSwitch);
  }
  for (CLI::App* const command : app.get_subcommands({})) CheckFlags(*command);
}

std::string CheckSeed(const std::string& word) {
  return CheckNumber<std::uint64_t>(word, 0,
                                    std::numeric_limits<std::uint64_t>::max());
}

std::string CheckExistingFile(const std::string& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (!std::filesystem::exists(status)) {
    return FormatText("there is no file '{}'", path);
  }
  if (!std::filesystem::is_directory(status)) return {};
  return FormatText("'{}' is a directory, expected a file", path);
}

}  // namespace attention
