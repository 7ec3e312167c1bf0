// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/format_text.h"

namespace attention {

std::string FormatArguments(std::string_view format,
                            std::format_args arguments) {
  return std::vformat(format, arguments);
}

}  // namespace attention
