// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace attention {

/// What a terminal shows in one place: a character and the marks that combine
/// with it.
struct TextCell {
  std::string text;
  std::size_t width = 1;  ///< columns it takes: 1, or 2 for wide characters
  bool right_to_left = false;
};

/// Split UTF-8 text into cells that may be printed anywhere in a line.
///
/// Control characters, and invisible ones such as those that change the
/// direction of text, are written as escapes ("\n", "\u202e"), bytes that are
/// not UTF-8 as U+FFFD, and a mark that has nothing to combine with on U+25CC.
/// Widths are the C library's wcwidth().
[[nodiscard]] std::vector<TextCell> CellsOf(std::string_view text);

/// The columns that cells take together.
[[nodiscard]] std::size_t WidthOf(const std::vector<TextCell>& cells);

/// Cut cells down to at most `width` columns, the last of which is then
/// `ellipsis`, one column wide.
[[nodiscard]] std::vector<TextCell> Elide(std::vector<TextCell> cells,
                                          std::size_t width,
                                          std::string_view ellipsis);

/// Join cells to a string of `width` columns, with spaces before or behind. A
/// terminal that reorders right-to-left text does so within it.
[[nodiscard]] std::string AlignRight(const std::vector<TextCell>& cells,
                                     std::size_t width);
[[nodiscard]] std::string AlignLeft(const std::vector<TextCell>& cells,
                                    std::size_t width);

}  // namespace attention
