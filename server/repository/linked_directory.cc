// SPDX-License-Identifier: Apache-2.0
#include "server/repository/linked_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

std::string DescriptorPath(const UniqueFd& fd) {
  return FormatText("/proc/self/fd/{}", fd.get());
}

// Whether a real path is a root or lies below it.
bool IsInside(std::string_view path, std::string_view root) {
  if (root.empty() || !path.starts_with(root)) return false;
  return path.size() == root.size() || root.ends_with('/') ||
         path[root.size()] == '/';
}

absl::Status CheckPath(std::string_view path) {
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view component = path.substr(start, end - start);
    if (component.empty() || component == "." || component == ".." ||
        component.find('\0') != std::string_view::npos) {
      return absl::InvalidArgumentError(FormatText(
          "path {}: expected a relative path without empty, \".\" and \"..\" "
          "components",
          Quote(path)));
    }
    start = end + 1;
  }
  return absl::OkStatus();
}

UniqueFd OpenPath(const Folder& base, std::string_view path) {
  return UniqueFd(
      openat(base.fd.get(), std::string(path).c_str(), O_PATH | O_CLOEXEC));
}

// Whether it is a symbolic link for which there is nothing at a path, rather
// than that one of the path's names is not there.
bool LinkLeadsNowhere(const Folder& base, std::string_view path) {
  for (std::size_t end = 0; end < path.size();) {
    end = std::min(path.find('/', end + 1), path.size());
    const std::string_view passed = path.substr(0, end);
    const absl::StatusOr<mode_t> type =
        EntryType(base.fd.get(), std::string(passed));
    if (!type.ok()) return false;
    if (*type == S_IFLNK && !OpenPath(base, passed).valid()) return true;
  }
  return true;  // all are there by now, so that a link was swapped
}

// What an error text calls a path.
std::string Name(const Folder& base, std::string_view path) {
  return Quote(base.path.empty() ? std::string(path)
                                 : FormatText("{}/{}", base.path, path));
}

absl::Status CannotOpen(absl::StatusCode code, const std::string& name,
                        std::string_view why) {
  return {code, FormatText("cannot open {}: {}", name, why)};
}

// The type of what a descriptor stands for.
absl::StatusOr<mode_t> TypeOfOpened(const UniqueFd& fd,
                                    const std::string& name) {
  struct stat info{};
  if (fstat(fd.get(), &info) == 0) return info.st_mode & S_IFMT;
  return ErrnoStatus(errno, FormatText("cannot open {}", name));
}

}  // namespace

absl::StatusOr<LinkedDirectory> LinkedDirectory::Open(
    const std::string& directory, const std::vector<std::string>& link_roots) {
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open the directory");
  std::vector<std::string> roots = {RealPathOf(fd)};
  if (roots.front().empty()) {
    return absl::FailedPreconditionError(
        "cannot tell the directory's real path, which takes /proc");
  }
  for (const std::string& link_root : link_roots) {
    const UniqueFd root(
        open(link_root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (root.valid()) roots.push_back(RealPathOf(root));
  }
  return LinkedDirectory(std::move(fd), std::move(roots));
}

absl::StatusOr<UniqueFd> LinkedDirectory::Resolve(const Folder& base,
                                                  std::string_view path) const {
  ATTENTION_RETURN_IF_ERROR(CheckPath(path));
  UniqueFd fd;
  int error = ENOENT;
  // What a link was swapped for is there the next time.
  constexpr int kAttempts = 4;
  for (int attempt = 0; attempt < kAttempts && error == ENOENT; ++attempt) {
    fd = OpenPath(base, path);
    error = fd.valid() ? 0 : errno;
  }
  if (error == ENOENT && LinkLeadsNowhere(base, path)) {
    return CannotOpen(absl::StatusCode::kInvalidArgument, Name(base, path),
                      "a symbolic link that leads nowhere");
  }
  if (error != 0) {
    return ErrnoStatus(error, FormatText("cannot open {}", Name(base, path)));
  }
  const std::string real_path = RealPathOf(fd);
  const bool allowed = std::ranges::any_of(
      roots_,
      [&](const std::string& root) { return IsInside(real_path, root); });
  if (allowed) return fd;
  return CannotOpen(absl::StatusCode::kInvalidArgument, Name(base, path),
                    "it leads out of the module repository, where symbolic "
                    "links are not followed unless the server's "
                    "--modules-link-root says so");
}

absl::StatusOr<UniqueFd> LinkedDirectory::OpenFile(
    const Folder& base, std::string_view path) const {
  ATTENTION_ASSIGN_OR_RETURN(const UniqueFd resolved, Resolve(base, path));
  const std::string name = Name(base, path);
  ATTENTION_ASSIGN_OR_RETURN(const mode_t type, TypeOfOpened(resolved, name));
  if (type != S_IFREG) {
    return CannotOpen(absl::StatusCode::kInvalidArgument, name,
                      "not a regular file");
  }
  // The file itself, wherever it may have been moved by now.
  UniqueFd file(open(DescriptorPath(resolved).c_str(),
                     O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (file.valid()) return file;
  return ErrnoStatus(errno, FormatText("cannot open {}", name));
}

absl::StatusOr<Folder> LinkedDirectory::OpenFolder(
    const Folder& base, std::string_view path) const {
  ATTENTION_ASSIGN_OR_RETURN(UniqueFd resolved, Resolve(base, path));
  const std::string name = Name(base, path);
  ATTENTION_ASSIGN_OR_RETURN(const mode_t type, TypeOfOpened(resolved, name));
  if (type != S_IFDIR) {
    return CannotOpen(absl::StatusCode::kInvalidArgument, name, "not a folder");
  }
  return Folder{std::move(resolved), std::string(path)};
}

absl::StatusOr<mode_t> LinkedDirectory::TypeOf(const Folder& base,
                                               std::string_view path) const {
  ATTENTION_ASSIGN_OR_RETURN(const UniqueFd fd, Resolve(base, path));
  return TypeOfOpened(fd, Name(base, path));
}

std::string LinkedDirectory::RealPath(const Folder& base,
                                      std::string_view path) const {
  const absl::StatusOr<UniqueFd> fd = Resolve(base, path);
  return fd.ok() ? RealPathOf(*fd) : "";
}

std::string RealPathOf(const UniqueFd& fd) {
  std::array<char, PATH_MAX + 1> path{};
  const ssize_t size =
      readlink(DescriptorPath(fd).c_str(), path.data(), path.size());
  if (size <= 0 || static_cast<std::size_t>(size) == path.size()) return "";
  return {path.data(), static_cast<std::size_t>(size)};
}

}  // namespace attention
