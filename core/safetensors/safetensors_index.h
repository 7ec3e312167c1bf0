// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace attention {

/// Which file of a sharded model each tensor is in, by its name.
using SafetensorsIndex = std::map<std::string, std::string, std::less<>>;

inline constexpr std::size_t kMaxSafetensorsIndexBytes = std::size_t{64} << 20;
inline constexpr std::size_t kMaxSafetensorsIndexEntries = 524'288;

/// Read the index of a sharded model, model.safetensors.index.json: an object
/// with the object "weight_map" of strings; what else it has is passed over.
/// The names of files are what the index says, whatever that is.
/// \return INVALID_ARGUMENT when it is not one, has a duplicate name, an empty
///   or one longer than SafetensorsView's, or too many. Thread-safe.
[[nodiscard]] absl::StatusOr<SafetensorsIndex> ParseSafetensorsIndex(
    std::string_view json);

}  // namespace attention
