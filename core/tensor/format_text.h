// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <format>
#include <string>
#include <string_view>

namespace attention {

/// Format arguments of which the caller made `arguments`. Thread-safe.
[[nodiscard]] std::string FormatArguments(std::string_view format,
                                          std::format_args arguments);

/// Format text as std::format does, with the format checked at compile time.
///
/// The work is compiled once, in format_text.cc: std::format is compiled anew,
/// for seconds, by each file that calls it. Thread-safe.
template <typename... Args>
[[nodiscard]] std::string FormatText(std::format_string<const Args&...> format,
                                     const Args&... arguments) {
  return FormatArguments(format.get(), std::make_format_args(arguments...));
}

}  // namespace attention
