// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/quote.h"

#include <cstddef>
#include <format>

namespace attention {

std::string Quote(std::string_view text) {
  constexpr std::size_t kMaxBytes = 64;
  std::string quoted = "'";
  for (const char c : text.substr(0, kMaxBytes)) {
    const bool printable = c >= ' ' && c <= '~' && c != '\'' && c != '\\';
    if (printable) {
      quoted += c;
    } else {
      quoted += std::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  quoted += '\'';
  if (text.size() > kMaxBytes) {
    quoted += std::format("... ({} bytes)", text.size());
  }
  return quoted;
}

}  // namespace attention
