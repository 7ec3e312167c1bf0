// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/weights.h"
#include "server/repository/stored_module.h"
#include "server/repository/unix_file.h"

namespace attention {

/// Modules on disk: a directory in which module NAME is either
///   - one file, NAME.safetensors, whose `__metadata__` has, under the key
///     "config", a ModuleConfig message as JSON; or
///   - a folder, NAME/, with config.json, a StoredModuleConfig message as JSON,
///     and the weights file that names (model.safetensors by default).
/// Both at once is an error when it is loaded.
///
/// Nothing outside the directory is ever opened: names are checked and symbolic
/// links inside it are not followed (the directory itself may be one).
/// Error texts leave it to the caller to name the module.
/// Thread-safe, and safe against other processes using the directory.
class ModuleRepository {
 public:
  /// Key of the config in the metadata of the one-file form.
  static constexpr std::string_view kConfigKey = "config";
  /// Longest config.json.
  static constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;

  /// Open a directory, and remove what interrupted writers left there.
  /// \param max_module_bytes longest file Load reads and Store writes.
  /// \return an error naming the directory when it is none or not readable.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ModuleRepository>> Open(
      const std::string& directory, std::size_t max_module_bytes);

  /// List the names of the modules, ascending. Files are not read, so loading
  /// one of them may still fail.
  /// \return INTERNAL when the directory cannot be read.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> List() const;

  /// Return whether List would name it, without listing: three look-ups.
  [[nodiscard]] bool Contains(std::string_view name) const;

  /// Check that Store may write a name.
  /// \return ALREADY_EXISTS when it exists in folder form, INVALID_ARGUMENT
  ///   when it is not valid.
  [[nodiscard]] absl::Status CheckStore(std::string_view name) const;

  /// Read a module.
  /// \return NOT_FOUND when there is none, INVALID_ARGUMENT when the name or
  ///   its files are not valid, RESOURCE_EXHAUSTED when a file is longer than
  ///   max_module_bytes or memory is exhausted, FAILED_PRECONDITION when both
  ///   forms exist or a file may not be read, INTERNAL when reading fails.
  [[nodiscard]] absl::StatusOr<StoredModule> Load(std::string_view name) const;

  /// Write a module as one file, replacing an older one atomically: whatever
  /// happens meanwhile, the name holds the old module or the new one.
  ///
  /// \param tensors as for ReadModule; only the module's own are written,
  ///   the module's own names.
  /// \return as CheckStore, INVALID_ARGUMENT when a tensor is missing,
  ///   RESOURCE_EXHAUSTED beyond max_module_bytes or when the disk is full,
  ///   FAILED_PRECONDITION when the directory is not writable, INTERNAL when
  ///   writing fails.
  [[nodiscard]] absl::Status Store(std::string_view name,
                                   const ModuleConfig& config,
                                   const NamedTensors& tensors,
                                   const WeightSource& source = {}) const;

 private:
  ModuleRepository(UniqueFd directory, std::size_t max_module_bytes)
      : directory_(std::move(directory)), max_module_bytes_(max_module_bytes) {}

  [[nodiscard]] absl::StatusOr<StoredModule> LoadFile(
      std::string_view name) const;
  [[nodiscard]] absl::StatusOr<StoredModule> LoadFolder(
      std::string_view name) const;

  const UniqueFd directory_;
  const std::size_t max_module_bytes_;
};

}  // namespace attention
