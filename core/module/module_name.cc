// SPDX-License-Identifier: Apache-2.0
#include "core/module/module_name.h"

#include <algorithm>
#include <cstddef>

#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
         (c >= 'a' && c <= 'z');
}

bool IsNameCharacter(char c) {
  return IsAlphanumeric(c) || c == '.' || c == '_' || c == '-';
}

}  // namespace

absl::Status ValidateModuleName(std::string_view name) {
  constexpr std::size_t kMaxBytes = 128;
  const bool valid = !name.empty() && name.size() <= kMaxBytes &&
                     IsAlphanumeric(name.front()) &&
                     std::ranges::all_of(name, IsNameCharacter);
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(FormatText(
      "module name {}: expected a letter or digit, then up to {} letters, "
      "digits, '.', '_' or '-'",
      Quote(name), kMaxBytes - 1));
}

absl::Status InModule(std::string_view name, const absl::Status& status) {
  return AnnotateStatus(FormatText("module '{}'", name), status);
}

}  // namespace attention
