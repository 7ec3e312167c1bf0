// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/quote.h"

#include <cstddef>

#include "core/tensor/format_text.h"

namespace attention {

std::string Quote(std::string_view text) {
  constexpr std::size_t kMaxBytes = 64;
  std::string quoted = "'";
  for (const char c : text.substr(0, kMaxBytes)) {
    const bool printable = c >= ' ' && c <= '~' && c != '\'' && c != '\\';
    if (printable) {
      quoted += c;
    } else {
      quoted += FormatText("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  quoted += '\'';
  if (text.size() > kMaxBytes) {
    quoted += FormatText("... ({} bytes)", text.size());
  }
  return quoted;
}

}  // namespace attention
