// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/safetensors/safetensors.h"
#include "core/safetensors/safetensors_file.h"
#include "server/repository/unix_file.h"

namespace attention {

/// Read a file of a module's weights.
/// \param max_bytes what --max-module-bytes leaves for it.
/// \return the errors of SafetensorsFile::Read; of a longer file, naming the
///   flag.
[[nodiscard]] absl::StatusOr<SafetensorsFile> ReadWeightsFile(
    const UniqueFd& file, std::size_t max_bytes);

/// The files a module's weights are in, read into memory: one safetensors file,
/// or those shards of a model that have tensors of the module.
/// Move-only; moving keeps the view valid. Thread-compatible.
class WeightsFiles {
 public:
  /// Opens a file by its path.
  using Opener = std::function<absl::StatusOr<UniqueFd>(std::string_view path)>;

  /// Read them.
  /// \param path of the file, or, ending in ".index.json", of the index of a
  ///   sharded model, which names the shards beside it.
  /// \param prefix of the names of the tensors wanted: shards with none of them
  ///   are not opened.
  /// \param max_bytes most bytes of all files together, the index excepted.
  /// \return the errors of `open` and of reading, INVALID_ARGUMENT when index
  ///   and shards disagree; but for a lone file's, naming the file.
  [[nodiscard]] static absl::StatusOr<WeightsFiles> Read(
      const Opener& open, const std::string& path, std::string_view prefix,
      std::size_t max_bytes);

  /// Lifetime: borrows from these files.
  [[nodiscard]] const SafetensorsView& view() const { return view_; }

 private:
  WeightsFiles() = default;

  absl::Status ReadFile(const Opener& open, std::string_view path,
                        std::size_t max_bytes);
  absl::Status ReadShards(const Opener& open, const std::string& index_path,
                          std::string_view prefix, std::size_t max_bytes);

  std::vector<SafetensorsFile> files_;
  SafetensorsView view_;
};

}  // namespace attention
