// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/token_labels.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/cpp/cli/tensor_files.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

bool AllOf(const nlohmann::json& array,
           bool (nlohmann::json::*is)() const noexcept) {
  return array.is_array() && !array.empty() &&
         std::ranges::all_of(
             array, [is](const nlohmann::json& item) { return (item.*is)(); });
}

absl::StatusOr<TokenLists> ParseJsonLabels(std::string_view text) {
  nlohmann::json json =
      nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (AllOf(json, &nlohmann::json::is_string)) {
    json = nlohmann::json::array({std::move(json)});
  }
  if (!AllOf(json, &nlohmann::json::is_array) ||
      !std::ranges::all_of(json, [](const nlohmann::json& list) {
        return AllOf(list, &nlohmann::json::is_string);
      })) {
    return absl::InvalidArgumentError(
        "expected a JSON array of strings, or of such arrays, one for each "
        "sequence, none of them empty");
  }
  return json.get<TokenLists>();
}

std::string Join(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) {
    text += (text.empty() ? "" : ", ") + item;
  }
  return text;
}

// The columns that are not appended.
std::size_t NumOwn(const LabelledAxis& axis) {
  return axis.count - std::min(axis.appended.size(), axis.count);
}

absl::Status WrongCount(const std::string& where, std::size_t got,
                        std::size_t expected, const LabelledAxis& axis) {
  const std::string all =
      axis.appended.empty()
          ? ""
          : FormatText(" (with {}: {})", Join(axis.appended), axis.count);
  return absl::InvalidArgumentError(FormatText(
      "{}: got {} labels, expected {}{}", where, got, expected, all));
}

}  // namespace

absl::StatusOr<TokenLists> ReadTokenFile(const std::filesystem::path& path) {
  ATTENTION_ASSIGN_OR_RETURN(const std::string contents, ReadTextFile(path));
  std::string_view text = contents;
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  if (path.extension() == ".json") {
    auto labels = ParseJsonLabels(text);
    if (labels.ok()) return labels;
    return absl::InvalidArgumentError(
        FormatText("{}: {}", path.string(), StatusText(labels.status())));
  }
  TokenLists labels = {Lines(text)};
  if (labels[0].empty()) {
    return absl::InvalidArgumentError(
        FormatText("{}: expected one label in each line, got an empty file",
                   path.string()));
  }
  return labels;
}

absl::StatusOr<TokenLists> FitLabels(TokenLists labels,
                                     const LabelledAxis& axis) {
  if (labels.size() > 1 && labels.size() != axis.num_sequences) {
    return absl::InvalidArgumentError(FormatText(
        "{}: got labels of {} sequences, expected those of 1 or of {}",
        axis.name, labels.size(), axis.num_sequences));
  }
  const bool ragged = labels.size() == axis.lengths.size();
  for (std::size_t n = 0; n < labels.size(); ++n) {
    std::vector<std::string>& list = labels[n];
    if (list.size() == axis.count) continue;
    const std::size_t expected =
        ragged ? static_cast<std::size_t>(axis.lengths[n]) : NumOwn(axis);
    if (list.size() != expected || expected > NumOwn(axis)) {
      const std::string where =
          labels.size() == 1 ? std::string(axis.name)
                             : FormatText("{} of sequence {}", axis.name, n);
      return WrongCount(where, list.size(), expected, axis);
    }
    list.resize(NumOwn(axis), "(padding)");
    list.insert(list.end(), axis.appended.begin(), axis.appended.end());
  }
  return labels;
}

const std::vector<std::string>& LabelsOf(const TokenLists& labels,
                                         std::size_t sequence) {
  static const std::vector<std::string> none;
  if (labels.empty()) return none;
  return labels.size() == 1 ? labels[0] : labels[sequence];
}

}  // namespace attention
