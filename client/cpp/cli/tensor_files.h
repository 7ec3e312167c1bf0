// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/weights.h"
#include "core/safetensors/safetensors_file.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Read and check a safetensors file.
/// \return NOT_FOUND when it cannot be opened, else the errors of
///   SafetensorsFile::Read; each names the file.
[[nodiscard]] absl::StatusOr<SafetensorsFile> ReadSafetensorsFile(
    const std::filesystem::path& path);

/// Read a safetensors file's `__metadata__` and nothing else of it.
/// \return NOT_FOUND, or INVALID_ARGUMENT when the header is malformed.
[[nodiscard]] absl::StatusOr<SafetensorsMetadata> ReadSafetensorsMetadata(
    const std::filesystem::path& path);

/// Check that a location is one that ReadTensorFile takes; the file itself is
/// not looked for. \return empty when it is, else what was expected.
[[nodiscard]] std::string CheckTensorLocation(const std::string& location);

/// Say that tensors have none of this name: which they have, how one of them is
/// named (empty: nothing on that), and which was most likely meant.
[[nodiscard]] std::string DescribeMissing(std::string_view name,
                                          const NamedTensors& tensors,
                                          std::string_view how = {});

/// Read one tensor from "FILE.npy" or "FILE.safetensors[:TENSOR]".
///
/// \param role is the tensor taken when none is named and the file has one of
///   that name; else the file must hold a single tensor.
/// \return NOT_FOUND when file or tensor does not exist, INVALID_ARGUMENT when
///   the file is malformed or of another kind.
[[nodiscard]] absl::StatusOr<Tensor> ReadTensorFile(std::string_view location,
                                                    std::string_view role);

/// Write tensors to a .safetensors file, or a single one to a .npy file.
/// \return INVALID_ARGUMENT when the file's kind cannot hold them, INTERNAL
///   when it cannot be written.
[[nodiscard]] absl::Status WriteTensorFile(const std::filesystem::path& path,
                                           const NamedTensors& tensors);

/// Read a text file whole. \return as ReadSafetensorsFile.
[[nodiscard]] absl::StatusOr<std::string> ReadTextFile(
    const std::filesystem::path& path);

/// Replace the contents of a file. \return INTERNAL when it cannot be written.
[[nodiscard]] absl::Status WriteTextFile(const std::filesystem::path& path,
                                         std::string_view text);

}  // namespace attention
