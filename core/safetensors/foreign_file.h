// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace attention {

/// Say what a file that is not a safetensors file is, by its first bytes, and
/// what to do about it: "a git-LFS pointer; fetch …". Empty when they are
/// nothing known. Does not doubt that it is none: the length a safetensors file
/// begins with may look like anything. Thread-safe.
/// \param start its first bytes, some hundred if it has as many.
[[nodiscard]] std::string_view DescribeForeignFile(std::string_view start);

}  // namespace attention
