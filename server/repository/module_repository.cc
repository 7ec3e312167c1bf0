// SPDX-License-Identifier: Apache-2.0
#include "server/repository/module_repository.h"

#include <sys/stat.h>

#include <algorithm>
#include <new>
#include <set>
#include <span>

#include "attention/v1/repository.pb.h"
#include "core/module/module_name.h"
#include "core/safetensors/read_file.h"
#include "core/safetensors/safetensors_file.h"
#include "core/safetensors/safetensors_writer.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/json.h"
#include "server/repository/temporary_file.h"
#include "server/repository/weights_files.h"

namespace attention {
namespace {

constexpr std::string_view kExtension = ".safetensors";
constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kDefaultWeightsFile = "model.safetensors";
// How often what is swapped meanwhile is looked at.
constexpr int kAttempts = 8;

std::string FilePath(std::string_view name) {
  return std::string(name).append(kExtension);
}

std::string FolderPath(std::string_view name, std::string_view file) {
  return FormatText("{}/{}", name, file);
}

// Type of what a directory's entry leads to: of a link that is not followed,
// that it is one. NOT_FOUND when there is no entry.
absl::StatusOr<mode_t> TypeOfEntry(const LinkedDirectory& directory,
                                   const std::string& name) {
  ATTENTION_ASSIGN_OR_RETURN(const mode_t type,
                             EntryType(directory.fd(), name));
  if (type != S_IFLNK) return type;
  return directory.TypeOf(directory.folder(), name).value_or(type);
}

absl::StatusOr<bool> HasFileForm(const LinkedDirectory& directory,
                                 std::string_view name) {
  const absl::StatusOr<mode_t> type = TypeOfEntry(directory, FilePath(name));
  if (absl::IsNotFound(type.status())) return false;
  if (!type.ok()) return type.status();
  return *type != S_IFDIR;
}

absl::StatusOr<bool> HasFolderForm(const LinkedDirectory& directory,
                                   std::string_view name) {
  const absl::StatusOr<mode_t> type = TypeOfEntry(directory, std::string(name));
  if (absl::IsNotFound(type.status())) return false;
  if (!type.ok()) return type.status();
  // Nobody knows what is behind a link that is not followed, unless its name
  // says that it is a file.
  if (*type == S_IFLNK) return !name.ends_with(kExtension);
  if (*type != S_IFDIR) return false;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const absl::StatusOr<Folder> folder =
        directory.OpenFolder(directory.folder(), name);
    if (!folder.ok()) return !absl::IsNotFound(folder.status());
    // Nor what is in a folder that may not be searched.
    const absl::Status config =
        EntryType(folder->fd.get(), std::string(kConfigFile)).status();
    if (!absl::IsNotFound(config)) return true;
    // Unless the folder was swapped for another meanwhile.
    if (directory.RealPath(directory.folder(), name) ==
        RealPathOf(folder->fd)) {
      return false;
    }
  }
  return true;
}

// The forms a module has, one or both; NOT_FOUND when it has none.
struct Forms {
  bool file = false;
  bool folder = false;
};

absl::StatusOr<Forms> FormsOf(const LinkedDirectory& directory,
                              std::string_view name) {
  ATTENTION_ASSIGN_OR_RETURN(const bool file, HasFileForm(directory, name));
  ATTENTION_ASSIGN_OR_RETURN(const bool folder, HasFolderForm(directory, name));
  if (!file && !folder) return absl::NotFoundError("not in the repository");
  return Forms{file, folder};
}

// A caller takes NOT_FOUND for an unknown module; this one is there, broken.
absl::Status NotUnknown(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::InvalidArgumentError(status.message())
                                  : status;
}

absl::StatusOr<v1::StoredModuleConfig> ReadStoredModuleConfig(
    const WeightsFiles::Opener& open) {
  ATTENTION_ASSIGN_OR_RETURN(const UniqueFd file, open(kConfigFile));
  ATTENTION_ASSIGN_OR_RETURN(
      const AlignedBuffer json,
      ReadFile(file.get(), ModuleRepository::kMaxConfigBytes));
  v1::StoredModuleConfig message;
  ATTENTION_RETURN_IF_ERROR(ParseJson(
      {reinterpret_cast<const char*>(json.data()), json.size()}, &message));
  if (message.weights_file().empty()) {
    message.set_weights_file(std::string(kDefaultWeightsFile));
  }
  return message;
}

/// Write the pieces of a file under a temporary name, then put it in its place.
absl::Status WriteFile(int directory, const std::string& name,
                       const SerializedSafetensors& content) {
  ATTENTION_ASSIGN_OR_RETURN(TemporaryFile file,
                             TemporaryFile::Create(directory));
  ATTENTION_RETURN_IF_ERROR(
      WriteAll(file.fd(), std::as_bytes(std::span(content.header))));
  for (const std::span<const std::byte> piece : content.data) {
    ATTENTION_RETURN_IF_ERROR(WriteAll(file.fd(), piece));
  }
  return file.Commit(name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModuleRepository>> ModuleRepository::Open(
    const std::string& directory, std::size_t max_module_bytes,
    const std::vector<std::string>& link_roots) {
  const auto open =
      [](std::string_view what,
         const std::string& path) -> absl::StatusOr<LinkedDirectory> {
    absl::StatusOr<LinkedDirectory> opened = LinkedDirectory::Open(path, {});
    if (opened.ok()) return opened;
    return AnnotateStatus(FormatText("{} {}", what, path), opened.status());
  };
  ATTENTION_ASSIGN_OR_RETURN(const LinkedDirectory opened,
                             open("module repository", directory));
  for (const std::string& link_root : link_roots) {
    ATTENTION_RETURN_IF_ERROR(open("modules' link root", link_root).status());
  }
  if (const absl::Status swept = SweepTemporaries(opened.fd()); !swept.ok()) {
    return AnnotateStatus(FormatText("module repository {}", directory), swept);
  }
  return std::unique_ptr<ModuleRepository>(
      new ModuleRepository(directory, link_roots, max_module_bytes));
}

absl::StatusOr<LinkedDirectory> ModuleRepository::OpenDirectory() const {
  absl::StatusOr<LinkedDirectory> directory =
      LinkedDirectory::Open(path_, link_roots_);
  if (directory.ok()) return directory;
  // A caller takes NOT_FOUND for an unknown module.
  const absl::Status status =
      absl::IsNotFound(directory.status())
          ? absl::InternalError(directory.status().message())
          : directory.status();
  return AnnotateStatus("the module repository", status);
}

absl::StatusOr<std::vector<std::string>> ModuleRepository::List() const {
  ATTENTION_ASSIGN_OR_RETURN(const LinkedDirectory directory, OpenDirectory());
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                             ListDirectory(directory.fd()));
  std::set<std::string> names;
  for (const std::string_view entry : entries) {
    if (ValidateModuleName(entry).ok() &&
        HasFolderForm(directory, entry).value_or(true)) {
      names.emplace(entry);
    }
    if (!entry.ends_with(kExtension)) continue;
    const std::string_view stem =
        entry.substr(0, entry.size() - kExtension.size());
    if (ValidateModuleName(stem).ok() &&
        HasFileForm(directory, stem).value_or(true)) {
      names.emplace(stem);
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

absl::StatusOr<bool> ModuleRepository::Contains(std::string_view name) const {
  if (!ValidateModuleName(name).ok()) return false;
  ATTENTION_ASSIGN_OR_RETURN(const LinkedDirectory directory, OpenDirectory());
  const absl::Status found = FormsOf(directory, name).status();
  if (absl::IsNotFound(found)) return false;
  if (!found.ok()) return found;
  return true;
}

absl::Status ModuleRepository::CheckStore(std::string_view name) const {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  ATTENTION_ASSIGN_OR_RETURN(const LinkedDirectory directory, OpenDirectory());
  ATTENTION_ASSIGN_OR_RETURN(const bool has_folder,
                             HasFolderForm(directory, name));
  const absl::StatusOr<mode_t> type = TypeOfEntry(directory, FilePath(name));
  if (has_folder || (type.ok() && *type == S_IFDIR)) {
    return absl::AlreadyExistsError(
        "in the repository as a folder, which is not overwritten");
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredModule> ModuleRepository::Load(
    std::string_view name) const {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  ATTENTION_ASSIGN_OR_RETURN(const LinkedDirectory directory, OpenDirectory());
  ATTENTION_ASSIGN_OR_RETURN(const Forms forms, FormsOf(directory, name));
  if (forms.file && forms.folder) {
    return absl::FailedPreconditionError(
        FormatText("in the repository twice, as {} and as {}; expected one",
                   FilePath(name), FolderPath(name, kConfigFile)));
  }
  try {
    absl::StatusOr<StoredModule> module =
        forms.file ? LoadFile(directory, name) : LoadFolder(directory, name);
    if (module.ok()) return module;
    return NotUnknown(module.status());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the module's files");
  }
}

absl::StatusOr<StoredModule> ModuleRepository::LoadFile(
    const LinkedDirectory& directory, std::string_view name) const {
  ATTENTION_ASSIGN_OR_RETURN(
      const UniqueFd fd,
      directory.OpenFile(directory.folder(), FilePath(name)));
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsFile file,
                             ReadWeightsFile(fd, max_module_bytes_));
  const SafetensorsMetadata& metadata = file.view().metadata();
  const auto config_json = metadata.find(kConfigKey);
  if (config_json == metadata.end()) {
    return absl::InvalidArgumentError(FormatText(
        "the file has no config, expected the JSON of a ModuleConfig as \"{}\" "
        "in its __metadata__",
        kConfigKey));
  }
  ATTENTION_ASSIGN_OR_RETURN(const ModuleConfig config,
                             ParseModuleConfigJson(config_json->second));
  return ReadModule(file.view(), config);
}

absl::StatusOr<StoredModule> ModuleRepository::LoadFolder(
    const LinkedDirectory& directory, std::string_view name) const {
  // A volume of Kubernetes is updated by swapping a link on the way to its
  // files, for a folder of a name never used before. If every path leads where
  // it led before it was opened, no link on its way was swapped since.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    RealPaths real_paths;
    absl::StatusOr<StoredModule> module =
        ReadFolder(directory, name, &real_paths);
    const bool unchanged =
        std::ranges::all_of(real_paths, [&](const auto& path) {
          return directory.RealPath(directory.folder(), path.first) ==
                 path.second;
        });
    if (unchanged) return module;
  }
  return absl::AbortedError(FormatText(
      "its files were replaced {} times while they were read", kAttempts));
}

absl::StatusOr<StoredModule> ModuleRepository::ReadFolder(
    const LinkedDirectory& directory, std::string_view name,
    RealPaths* real_paths) const {
  const auto note = [&](const std::string& path) {
    real_paths->emplace(path, directory.RealPath(directory.folder(), path));
  };
  note(std::string(name));
  ATTENTION_ASSIGN_OR_RETURN(const Folder folder,
                             directory.OpenFolder(directory.folder(), name));
  const auto open = [&](std::string_view path) {
    note(FolderPath(name, path));
    return directory.OpenFile(folder, path);
  };
  const absl::StatusOr<v1::StoredModuleConfig> stored =
      ReadStoredModuleConfig(open);
  if (!stored.ok()) return AnnotateStatus(kConfigFile, stored.status());
  const absl::StatusOr<ModuleConfig> config =
      DecodeModuleConfig(stored->config());
  if (!config.ok()) return AnnotateStatus(kConfigFile, config.status());
  const WeightSource source =
      DecodeWeightSource(stored->weights_prefix(), stored->weight_names());
  ATTENTION_ASSIGN_OR_RETURN(
      const WeightsFiles files,
      WeightsFiles::Read(open, stored->weights_file(), source.prefix,
                         max_module_bytes_));
  return ReadModule(files.view(), *config, source);
}

absl::Status ModuleRepository::Store(std::string_view name,
                                     const ModuleConfig& config,
                                     const NamedTensors& tensors,
                                     const WeightSource& source) const {
  ATTENTION_RETURN_IF_ERROR(CheckStore(name));
  ATTENTION_ASSIGN_OR_RETURN(const LinkedDirectory directory, OpenDirectory());
  ATTENTION_ASSIGN_OR_RETURN(const SelectedWeights selected,
                             SelectWeights(config, tensors, source));
  ATTENTION_ASSIGN_OR_RETURN(
      const SerializedSafetensors content,
      SerializeSafetensors(selected.tensors, {{std::string(kConfigKey),
                                               ModuleConfigToJson(config)}}));
  if (content.num_bytes() > max_module_bytes_) {
    return absl::ResourceExhaustedError(
        FormatText("would be stored as a file of {} bytes, expected at most {} "
                   "(--max-module-bytes)",
                   content.num_bytes(), max_module_bytes_));
  }
  const absl::Status written =
      WriteFile(directory.fd(), FilePath(name), content);
  // A caller takes NOT_FOUND for an unknown module, but here it is the
  // directory that is gone.
  if (absl::IsNotFound(written)) {
    return absl::InternalError(
        FormatText("cannot be stored: {}", StatusText(written)));
  }
  return AnnotateStatus("cannot be stored", written);
}

}  // namespace attention
