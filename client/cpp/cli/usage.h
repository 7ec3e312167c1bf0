// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/usage/usage_text.h"

namespace attention {

/// Explain why a command line did not parse, in words of its own: what was
/// given, what is accepted, which name was most likely meant, and, where
/// something is missing, how the command is used. Ends with a newline.
[[nodiscard]] std::string ExplainUsage(const CLI::App& app,
                                       const CLI::ParseError& error);

/// Explain the first word that no command or option took; empty when there is
/// none.
[[nodiscard]] std::string ExplainUnexpected(const CLI::App& app);

/// Check the values that flags are given, on an app and all its commands.
void CheckFlags(CLI::App& app);

/// A check of an option's value; see CLI::Option::check.
using ValueCheck = std::function<std::string(const std::string&)>;

/// Accept numbers from `least` to `most`.
template <typename T>
[[nodiscard]] ValueCheck InRange(T least, T most) {
  return [least, most](const std::string& word) {
    return CheckNumber<T>(word, least, most);
  };
}

/// Check a seed: any whole number of 64 bits. \return as CheckNumber.
[[nodiscard]] std::string CheckSeed(const std::string& word);

/// Check that there is a file of this path. \return as CheckNumber.
[[nodiscard]] std::string CheckExistingFile(const std::string& path);

/// Declare an option that takes one of some words, each for a value.
template <typename T, typename V>
CLI::Option* AddChoice(CLI::App& command, const std::string& flag, T& value,
                       std::vector<std::pair<std::string, V>> choices) {
  std::vector<std::string> words;
  std::string type;
  for (const auto& [word, chosen] : choices) {
    words.push_back(word);
    type += (type.empty() ? "" : "|") + word;
  }
  return command
      .add_option_function<std::string>(
          flag,
          [&value, choices = std::move(choices)](const std::string& word) {
            for (const auto& [name, chosen] : choices) {
              if (name == word) value = chosen;
            }
          })
      ->type_name(type)
      ->check([words](const std::string& word) {
        return CheckChoice(word, words);
      });
}

}  // namespace attention
