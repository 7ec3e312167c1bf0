// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace attention {

// core/usage: how mistaken words are answered. Words and texts only; uses
// nothing.

// What both executables answer a mistaken word of their command line with. The
// functions know no parser and are thread-safe.

/// Return the name that `word` was most likely meant to be; empty when none is
/// near. Two words are near when at most one in three of the longer one's
/// characters must be inserted, removed, replaced or swapped with its neighbour
/// to make them equal, capitals counting as their small letters.
/// Source: https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance, "optimal
/// string alignment".
[[nodiscard]] std::string NearestName(std::string_view word,
                                      std::span<const std::string> names);

/// Write "; did you mean 'NAME'?" for the nearest name; empty when none is
/// near.
[[nodiscard]] std::string DidYouMean(std::string_view word,
                                     std::span<const std::string> names);

/// Write a list as "a, b or c".
[[nodiscard]] std::string OneOf(std::span<const std::string> names);

/// Check that a word is one of the accepted ones.
/// \return empty when it is, else "got 'x', expected a, b or c".
[[nodiscard]] std::string CheckChoice(std::string_view word,
                                      std::span<const std::string> choices);

/// Check that a word is a number in [least, most]: a whole one where T is
/// integral.
/// \tparam T std::int64_t, std::uint64_t or double.
/// \return as CheckChoice.
template <typename T>
[[nodiscard]] std::string CheckNumber(std::string_view word, T least, T most);

/// Check the value given to a flag that takes none, such as --json=yes.
/// \return as CheckChoice.
[[nodiscard]] std::string CheckSwitch(std::string_view word);

}  // namespace attention
