// SPDX-License-Identifier: Apache-2.0
#include "core/usage/usage_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

char ToLower(char letter) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
}

// The least number of insertions, removals, replacements and swaps of
// neighbours that make `a` and `b` equal, no character being changed twice.
std::size_t Distance(std::string_view a, std::string_view b) {
  // Rows i - 2, i - 1 and i of the table of distances between the first i
  // characters of `a` and the first j of `b`.
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = ToLower(a[i - 1]) == ToLower(b[j - 1]);
      row[j] = std::min(
          {last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0U : 1U)});
      if (i > 1 && j > 1 && ToLower(a[i - 1]) == ToLower(b[j - 2]) &&
          ToLower(a[i - 2]) == ToLower(b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

}  // namespace

std::string NearestName(std::string_view word,
                        std::span<const std::string> names) {
  // Far longer than any name; bounds the work.
  constexpr std::size_t kMaxWord = 256;
  if (word.size() > kMaxWord) return {};
  std::string nearest;
  std::size_t least = kMaxWord;
  for (const std::string& name : names) {
    const std::size_t distance = Distance(word, name);
    const std::size_t near = std::max(word.size(), name.size()) / 3;
    if (distance > near || distance >= least) continue;
    nearest = name;
    least = distance;
  }
  return nearest;
}

std::string DidYouMean(std::string_view word,
                       std::span<const std::string> names) {
  const std::string nearest = NearestName(word, names);
  if (nearest.empty()) return {};
  return FormatText("; did you mean '{}'?", nearest);
}

std::string OneOf(std::span<const std::string> names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

std::string CheckChoice(std::string_view word,
                        std::span<const std::string> choices) {
  if (std::ranges::find(choices, word) != choices.end()) return {};
  return FormatText("got '{}', expected {}", word, OneOf(choices));
}

template <typename T>
std::string CheckNumber(std::string_view word, T least, T most) {
  T value{};
  const char* const end = word.data() + word.size();
  const auto [parsed, error] =
      std::from_chars(word.data(), word.data() + word.size(), value);
  // NaN is in no range.
  if (error == std::errc() && parsed == end && value >= least &&
      value <= most) {
    return {};
  }
  if constexpr (std::is_integral_v<T>) {
    return FormatText("got '{}', expected a whole number from {} to {}", word,
                      least, most);
  } else {
    // Digits, where {} would write 1e+06.
    return FormatText("got '{}', expected a number from {:.15g} to {:.15g}",
                      word, least, most);
  }
}

template std::string CheckNumber(std::string_view, std::int64_t, std::int64_t);
template std::string CheckNumber(std::string_view, std::uint64_t,
                                 std::uint64_t);
template std::string CheckNumber(std::string_view, double, double);

std::string CheckSwitch(std::string_view word) {
  constexpr std::array<std::string_view, 8> kWords = {
      "true", "false", "on", "off", "yes", "no", "1", "0"};
  if (std::ranges::find(kWords, word) != kWords.end()) return {};
  return FormatText("got '{}', expected no value, true or false", word);
}

}  // namespace attention
