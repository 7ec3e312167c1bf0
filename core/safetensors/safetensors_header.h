// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/safetensors/safetensors.h"
#include "core/tensor/data_type.h"

namespace attention {

/// An element type of the safetensors format.
struct SafetensorsDtype {
  std::string_view name;          ///< as in the file, such as "BF16"
  std::uint64_t bits = 0;         ///< of one element
  std::optional<DataType> dtype;  ///< when we have it
};

/// Find an element type by its name; null when the format does not know it.
/// The pointee is static. Thread-safe.
[[nodiscard]] const SafetensorsDtype* FindSafetensorsDtype(
    std::string_view name);

/// Return the format's name of one of our types. Thread-safe.
[[nodiscard]] std::string_view SafetensorsDtypeName(DataType dtype);

/// What the header says of one tensor; only the form has been checked.
struct SafetensorsEntry {
  std::string dtype;
  std::vector<std::int64_t> dims;  ///< at most Shape::kMaxRank, none negative
  std::uint64_t begin = 0;  ///< offsets from the start of the data, in bytes
  std::uint64_t end = 0;
};

/// The header's JSON, read.
struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry, std::less<>> entries;
  SafetensorsMetadata metadata;
};

/// The header's key that is not a tensor.
inline constexpr std::string_view kSafetensorsMetadataKey = "__metadata__";

/// Bytes of the length before the header.
inline constexpr std::size_t kSafetensorsLengthBytes = 8;
/// Bytes of a file's start that say what it is, if it has as many.
inline constexpr std::size_t kSafetensorsStartBytes = 512;

/// Read the length of a file's header.
/// \param start the file's first kSafetensorsStartBytes, or all of it.
/// \return INVALID_ARGUMENT when it is too long or longer than the file, naming
///   what the file is where that is known. Thread-safe.
[[nodiscard]] absl::StatusOr<std::size_t> SafetensorsHeaderLength(
    std::string_view start, std::size_t file_bytes);

/// Read the JSON of a header under the limits of SafetensorsView, without ever
/// building a tree: nesting deeper than the format's is refused on sight.
/// \return INVALID_ARGUMENT. Thread-safe.
[[nodiscard]] absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    std::string_view json);

}  // namespace attention
