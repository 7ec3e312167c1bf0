// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/repository/unix_file.h"

namespace attention {

/// An opened directory, and what error texts call it: its path relative to the
/// LinkedDirectory; empty for that itself. Move-only.
struct Folder {
  UniqueFd fd;
  std::string path;
};

/// A directory whose files are opened by relative paths, following symbolic
/// links where they end inside it or inside one of its link roots: a hub's
/// cache (snapshots/… → ../../blobs/…), or a volume of Kubernetes
/// (NAME.safetensors → ..data/NAME.safetensors, ..data → ..2026_…).
///
/// The kernel follows the links, at most 40 of them, to a descriptor opened
/// with O_PATH, which opens no device and waits for no FIFO. Only what that
/// descriptor stands for is judged, by its real path, and only that same
/// descriptor is opened for reading: nobody can put something else there in
/// between. openat2's RESOLVE_BENEATH would refuse absolute links into the
/// directory and knows of one directory only, and older kernels and sandboxes
/// lack it. What a path passes on its way is of no matter: looking up a name
/// changes nothing.
/// Immutable, so thread-safe. Move-only.
class LinkedDirectory {
 public:
  /// Open it, itself perhaps a link. A link root that does not exist at the
  /// moment allows nothing.
  /// \return as ErrnoStatus, without naming the directory.
  [[nodiscard]] static absl::StatusOr<LinkedDirectory> Open(
      const std::string& directory, const std::vector<std::string>& link_roots);

  [[nodiscard]] const Folder& folder() const { return folder_; }
  [[nodiscard]] int fd() const { return folder_.fd.get(); }

  /// Open a regular file for reading.
  /// \param base this directory, or one that OpenFolder opened.
  /// \param path relative, without empty, "." and ".." components.
  /// \return INVALID_ARGUMENT for another path, for what is not a regular file,
  ///   and for a link that leads elsewhere, nowhere or in a circle; else as
  ///   ErrnoStatus.
  [[nodiscard]] absl::StatusOr<UniqueFd> OpenFile(const Folder& base,
                                                  std::string_view path) const;

  /// Open a directory, for paths relative to it. \return likewise.
  [[nodiscard]] absl::StatusOr<Folder> OpenFolder(const Folder& base,
                                                  std::string_view path) const;

  /// Return the type (S_IFMT bits of st_mode) of what a path leads to.
  /// \return likewise.
  [[nodiscard]] absl::StatusOr<mode_t> TypeOf(const Folder& base,
                                              std::string_view path) const;

  /// Return where a path leads; empty when it cannot be followed.
  [[nodiscard]] std::string RealPath(const Folder& base,
                                     std::string_view path) const;

 private:
  LinkedDirectory(UniqueFd directory, std::vector<std::string> roots)
      : folder_{std::move(directory), ""}, roots_(std::move(roots)) {}

  // The O_PATH descriptor of what a path leads to, which is allowed.
  [[nodiscard]] absl::StatusOr<UniqueFd> Resolve(const Folder& base,
                                                 std::string_view path) const;

  Folder folder_;
  std::vector<std::string> roots_;  ///< real paths, the directory's first
};

/// Return the path of an opened file, without links, as it is at the moment;
/// empty when it has none. Thread-safe.
[[nodiscard]] std::string RealPathOf(const UniqueFd& fd);

}  // namespace attention
