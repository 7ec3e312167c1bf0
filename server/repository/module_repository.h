// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/attention/weights.h"
#include "server/repository/linked_directory.h"
#include "server/weights/stored_module.h"

namespace attention {

// The room `server/repository`: modules on disk, and every path, link,
// descriptor and temporary file there is to them. Enters: names; leaves:
// StoredModules. Uses server/weights, core/module for what a name may be, and
// proto/wire for the JSON of a config.

/// Modules on disk: a directory in which module NAME is either
///   - one file, NAME.safetensors, whose `__metadata__` has, under the key
///     "config", a ModuleConfig message as JSON; or
///   - a folder, NAME/, with config.json, a StoredModuleConfig message as JSON,
///     and the weights file that names (model.safetensors by default).
/// Both at once is an error when it is loaded.
///
/// Symbolic links are followed where they end inside the directory or inside
/// one of the link roots; nothing else is ever opened. The directory itself may
/// be a link: it is looked up anew for each call, so that it may be swapped.
/// Error texts leave it to the caller to name the module.
/// Thread-safe, and safe against other processes using the directory.
class ModuleRepository {
 public:
  /// Key of the config in the metadata of the one-file form.
  static constexpr std::string_view kConfigKey = "config";
  /// Longest config.json.
  static constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;

  /// Open a directory, and remove what interrupted writers left there.
  /// \param max_module_bytes most bytes of a module's files that Load reads and
  ///   Store writes.
  /// \param link_roots other directories that links may lead into.
  /// \return an error naming the directory that is none or not readable.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ModuleRepository>> Open(
      const std::string& directory, std::size_t max_module_bytes,
      const std::vector<std::string>& link_roots = {});

  /// List the names of the modules, ascending. Files are not read, so loading
  /// one of them may still fail. A folder that may not be searched, a link that
  /// is not followed and an entry that cannot be looked up count as modules, so
  /// that loading them says why.
  /// \return FAILED_PRECONDITION when the directory may not be read, INTERNAL
  ///   when it is gone or reading fails.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> List() const;

  /// Return whether List would name it, without listing: a few look-ups.
  /// \return as List; INTERNAL for an entry that cannot be looked up.
  [[nodiscard]] absl::StatusOr<bool> Contains(std::string_view name) const;

  /// Check that Store may write a name.
  /// \return ALREADY_EXISTS when it exists in folder form, INVALID_ARGUMENT
  ///   when it is not valid.
  [[nodiscard]] absl::Status CheckStore(std::string_view name) const;

  /// Read a module. Where a link is swapped to replace files all at once, as in
  /// a volume of Kubernetes, all of them are read before or all after.
  /// \return NOT_FOUND when there is none, INVALID_ARGUMENT when the name or
  ///   its files are not valid or a link is not followed, RESOURCE_EXHAUSTED
  ///   when its files are longer than max_module_bytes or memory is exhausted,
  ///   FAILED_PRECONDITION when both forms exist or a file may not be read,
  ///   ABORTED when its files change time and again, INTERNAL when reading
  ///   fails.
  [[nodiscard]] absl::StatusOr<StoredModule> Load(std::string_view name) const;

  /// Write a module as one file, replacing an older one atomically: whatever
  /// happens meanwhile, the name holds the old module or the new one. A link of
  /// that name is replaced itself; nothing is ever written through one.
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
  // Paths in the repository, and where they led before they were opened.
  using RealPaths = std::map<std::string, std::string>;

  ModuleRepository(std::string directory, std::vector<std::string> link_roots,
                   std::size_t max_module_bytes)
      : path_(std::move(directory)),
        link_roots_(std::move(link_roots)),
        max_module_bytes_(max_module_bytes) {}

  [[nodiscard]] absl::StatusOr<LinkedDirectory> OpenDirectory() const;
  [[nodiscard]] absl::StatusOr<StoredModule> LoadFile(
      const LinkedDirectory& directory, std::string_view name) const;
  [[nodiscard]] absl::StatusOr<StoredModule> LoadFolder(
      const LinkedDirectory& directory, std::string_view name) const;
  [[nodiscard]] absl::StatusOr<StoredModule> ReadFolder(
      const LinkedDirectory& directory, std::string_view name,
      RealPaths* real_paths) const;

  const std::string path_;
  const std::vector<std::string> link_roots_;
  const std::size_t max_module_bytes_;
};

}  // namespace attention
