// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/text_cells.h"

#include <locale.h>  // NOLINT(modernize-deprecated-headers): newlocale is POSIX
#include <wchar.h>   // NOLINT(modernize-deprecated-headers): wcwidth is POSIX

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";
constexpr std::string_view kDottedCircle = "\u25CC";
constexpr std::string_view kLeftToRightMark = "\u200E";

// This thread's characters are UTF-8 as long as this lives, whatever the
// user's locale is. Where the C library has no such locale, what is not ASCII
// is shown as U+FFFD.
class ScopedUtf8 {
 public:
  ScopedUtf8()
      : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)),
        previous_(uselocale(locale_)) {}
  ~ScopedUtf8() {
    uselocale(previous_);
    if (locale_ != nullptr) freelocale(locale_);
  }
  ScopedUtf8(const ScopedUtf8&) = delete;
  ScopedUtf8& operator=(const ScopedUtf8&) = delete;
  ScopedUtf8(ScopedUtf8&&) = delete;
  ScopedUtf8& operator=(ScopedUtf8&&) = delete;

 private:
  locale_t locale_;
  locale_t previous_;
};

using Range = std::pair<char32_t, char32_t>;

bool IsIn(std::span<const Range> ranges, char32_t character) {
  return std::ranges::any_of(ranges, [character](const Range& range) {
    return range.first <= character && character <= range.second;
  });
}

// Format characters (general category Cf): they take no column, and some
// reorder what stands around them.
bool IsInvisible(char32_t character) {
  constexpr std::array<Range, 7> kRanges = {{{0xAD, 0xAD},
                                             {0x61C, 0x61C},
                                             {0x200B, 0x200F},
                                             {0x2028, 0x202E},
                                             {0x2060, 0x206F},
                                             {0xFEFF, 0xFEFF},
                                             {0xE0000, 0xE007F}}};
  return IsIn(kRanges, character);
}

// The blocks that Unicode reserves for scripts written from right to left.
// Source: https://www.unicode.org/reports/tr9 (bidirectional classes R, AL)
bool IsRightToLeft(char32_t character) {
  constexpr std::array<Range, 5> kRanges = {{{0x590, 0x8FF},
                                             {0xFB1D, 0xFDFF},
                                             {0xFE70, 0xFEFE},
                                             {0x10800, 0x10FFF},
                                             {0x1E800, 0x1EFFF}}};
  return IsIn(kRanges, character);
}

std::string Escape(char32_t character) {
  const auto code = static_cast<std::uint32_t>(character);
  switch (character) {
    case U'\n':
      return "\\n";
    case U'\r':
      return "\\r";
    case U'\t':
      return "\\t";
    default:
      return code < 0x10000 ? FormatText("\\u{:04x}", code)
                            : FormatText("\\U{:08x}", code);
  }
}

void AppendCharacter(char32_t character, std::string_view bytes,
                     std::vector<TextCell>& cells) {
  const int width =
      character == 0 ? -1 : wcwidth(static_cast<wchar_t>(character));
  if (width < 0 || IsInvisible(character)) {
    for (const char escaped : Escape(character)) {
      cells.push_back({.text = std::string(1, escaped)});
    }
    return;
  }
  if (width == 0) {
    if (cells.empty()) cells.push_back({.text = std::string(kDottedCircle)});
    cells.back().text += bytes;
    return;
  }
  cells.push_back({.text = std::string(bytes),
                   .width = static_cast<std::size_t>(width),
                   .right_to_left = IsRightToLeft(character)});
}

std::string Join(const std::vector<TextCell>& cells) {
  std::string text;
  bool right_to_left = false;
  for (const TextCell& cell : cells) {
    text += cell.text;
    right_to_left |= cell.right_to_left;
  }
  // What follows belongs to the line again, not to this text.
  if (right_to_left) text += kLeftToRightMark;
  return text;
}

std::string Padding(const std::vector<TextCell>& cells, std::size_t width) {
  std::string padding(width - std::min(width, WidthOf(cells)), ' ');
  return padding;
}

}  // namespace

std::vector<TextCell> CellsOf(std::string_view text) {
  const ScopedUtf8 utf8;
  std::vector<TextCell> cells;
  while (!text.empty()) {
    wchar_t character = 0;
    std::mbstate_t state = {};
    // NOLINTNEXTLINE(concurrency-mt-unsafe): with a state of our own it is safe
    std::size_t size = mbrtowc(&character, text.data(), text.size(), &state);
    if (size == 0) size = 1;  // the null character
    if (size > text.size()) {
      cells.push_back({.text = std::string(kReplacement)});
      size = 1;
    } else {
      AppendCharacter(static_cast<char32_t>(character), text.substr(0, size),
                      cells);
    }
    text.remove_prefix(size);
  }
  return cells;
}

std::size_t WidthOf(const std::vector<TextCell>& cells) {
  std::size_t width = 0;
  for (const TextCell& cell : cells) width += cell.width;
  return width;
}

std::vector<TextCell> Elide(std::vector<TextCell> cells, std::size_t width,
                            std::string_view ellipsis) {
  std::size_t total = WidthOf(cells);
  if (total <= width) return cells;
  while (!cells.empty() && total + 1 > width) {
    total -= cells.back().width;
    cells.pop_back();
  }
  cells.push_back({.text = std::string(ellipsis)});
  return cells;
}

std::string AlignRight(const std::vector<TextCell>& cells, std::size_t width) {
  return Padding(cells, width) + Join(cells);
}

std::string AlignLeft(const std::vector<TextCell>& cells, std::size_t width) {
  return Join(cells) + Padding(cells, width);
}

}  // namespace attention
