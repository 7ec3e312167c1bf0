// SPDX-License-Identifier: Apache-2.0
#include "server/repository/module_repository.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <format>
#include <set>
#include <span>

#include "attention/v1/repository.pb.h"
#include "core/module/quote.h"
#include "core/module/read_file.h"
#include "core/module/safetensors_file.h"
#include "core/module/safetensors_writer.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/json.h"
#include "server/repository/module_name.h"
#include "server/repository/temporary_file.h"

namespace attention {
namespace {

constexpr std::string_view kExtension = ".safetensors";
constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kDefaultWeightsFile = "model.safetensors";

std::string FilePath(std::string_view name) {
  return std::string(name).append(kExtension);
}

std::string FolderPath(std::string_view name, std::string_view file) {
  return std::format("{}/{}", name, file);
}

bool HasFileForm(int directory, std::string_view name) {
  const std::optional<mode_t> type = EntryType(directory, FilePath(name));
  return type.has_value() && type != S_IFDIR;
}

bool HasFolderForm(int directory, std::string_view name) {
  return EntryType(directory, FolderPath(name, kConfigFile)).has_value();
}

absl::StatusOr<v1::StoredModuleConfig> ParseStoredModuleConfig(
    std::string_view json) {
  v1::StoredModuleConfig message;
  ATTENTION_RETURN_IF_ERROR(ParseJson(json, &message));
  if (message.weights_file().empty()) {
    message.set_weights_file(std::string(kDefaultWeightsFile));
  }
  return message;
}

absl::StatusOr<v1::StoredModuleConfig> ReadStoredModuleConfig(
    int directory, std::string_view name) {
  ATTENTION_ASSIGN_OR_RETURN(
      const UniqueFd file,
      OpenBeneath(directory, FolderPath(name, kConfigFile)));
  ATTENTION_ASSIGN_OR_RETURN(
      const AlignedBuffer json,
      ReadFile(file.get(), ModuleRepository::kMaxConfigBytes));
  return ParseStoredModuleConfig(
      {reinterpret_cast<const char*>(json.data()), json.size()});
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
    const std::string& directory, std::size_t max_module_bytes) {
  const std::string where = std::format("module repository {}", directory);
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, where);
  if (const absl::Status swept = SweepTemporaries(fd.get()); !swept.ok()) {
    return AnnotateStatus(where, swept);
  }
  return std::unique_ptr<ModuleRepository>(
      new ModuleRepository(std::move(fd), max_module_bytes));
}

absl::StatusOr<std::vector<std::string>> ModuleRepository::List() const {
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                             ListDirectory(directory_.get()));
  std::set<std::string> names;
  for (const std::string_view entry : entries) {
    if (ValidateModuleName(entry).ok() &&
        HasFolderForm(directory_.get(), entry)) {
      names.emplace(entry);
    }
    if (!entry.ends_with(kExtension)) continue;
    const std::string_view stem =
        entry.substr(0, entry.size() - kExtension.size());
    if (ValidateModuleName(stem).ok() && HasFileForm(directory_.get(), stem)) {
      names.emplace(stem);
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

bool ModuleRepository::Contains(std::string_view name) const {
  return ValidateModuleName(name).ok() &&
         (HasFileForm(directory_.get(), name) ||
          HasFolderForm(directory_.get(), name));
}

absl::Status ModuleRepository::CheckStore(std::string_view name) const {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  if (HasFolderForm(directory_.get(), name) ||
      EntryType(directory_.get(), FilePath(name)) == S_IFDIR) {
    return absl::AlreadyExistsError(
        "in the repository as a folder, which is not overwritten");
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredModule> ModuleRepository::Load(
    std::string_view name) const {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  const bool has_file = HasFileForm(directory_.get(), name);
  const bool has_folder = HasFolderForm(directory_.get(), name);
  if (!has_file && !has_folder) {
    return absl::NotFoundError("not in the repository");
  }
  if (has_file && has_folder) {
    return absl::FailedPreconditionError(
        std::format("in the repository twice, as {} and as {}; expected one",
                    FilePath(name), FolderPath(name, kConfigFile)));
  }
  return has_file ? LoadFile(name) : LoadFolder(name);
}

absl::StatusOr<StoredModule> ModuleRepository::LoadFile(
    std::string_view name) const {
  ATTENTION_ASSIGN_OR_RETURN(const UniqueFd fd,
                             OpenBeneath(directory_.get(), FilePath(name)));
  ATTENTION_ASSIGN_OR_RETURN(
      const SafetensorsFile file,
      SafetensorsFile::Read(fd.get(), max_module_bytes_));
  const SafetensorsMetadata& metadata = file.view().metadata();
  const auto config_json = metadata.find(kConfigKey);
  if (config_json == metadata.end()) {
    return absl::InvalidArgumentError(std::format(
        "the file has no config, expected the JSON of a ModuleConfig as \"{}\" "
        "in its __metadata__",
        kConfigKey));
  }
  ATTENTION_ASSIGN_OR_RETURN(const ModuleConfig config,
                             ParseModuleConfigJson(config_json->second));
  return ReadModule(file.view(), config);
}

absl::StatusOr<StoredModule> ModuleRepository::LoadFolder(
    std::string_view name) const {
  const absl::StatusOr<v1::StoredModuleConfig> stored =
      ReadStoredModuleConfig(directory_.get(), name);
  if (!stored.ok()) return AnnotateStatus(kConfigFile, stored.status());
  const absl::StatusOr<ModuleConfig> config =
      DecodeModuleConfig(stored->config());
  if (!config.ok()) return AnnotateStatus(kConfigFile, config.status());
  const absl::StatusOr<UniqueFd> fd =
      OpenBeneath(directory_.get(), FolderPath(name, stored->weights_file()));
  // A caller takes NOT_FOUND for an unknown module; this one is there, broken.
  if (absl::IsNotFound(fd.status())) {
    return absl::InvalidArgumentError(fd.status().message());
  }
  if (!fd.ok()) return fd.status();
  ATTENTION_ASSIGN_OR_RETURN(
      const SafetensorsFile file,
      SafetensorsFile::Read(fd->get(), max_module_bytes_));
  return ReadModule(
      file.view(), *config,
      DecodeWeightSource(stored->weights_prefix(), stored->weight_names()));
}

absl::Status ModuleRepository::Store(std::string_view name,
                                     const ModuleConfig& config,
                                     const NamedTensors& tensors,
                                     const WeightSource& source) const {
  ATTENTION_RETURN_IF_ERROR(CheckStore(name));
  ATTENTION_ASSIGN_OR_RETURN(const SelectedWeights selected,
                             SelectWeights(config, tensors, source));
  ATTENTION_ASSIGN_OR_RETURN(
      const SerializedSafetensors content,
      SerializeSafetensors(selected.tensors, {{std::string(kConfigKey),
                                               ModuleConfigToJson(config)}}));
  if (content.num_bytes() > max_module_bytes_) {
    return absl::ResourceExhaustedError(std::format(
        "would be stored as a file of {} bytes, expected at most {}",
        content.num_bytes(), max_module_bytes_));
  }
  const absl::Status written =
      WriteFile(directory_.get(), FilePath(name), content);
  // A caller takes NOT_FOUND for an unknown module, but here it is the
  // directory that is gone.
  if (absl::IsNotFound(written)) {
    return absl::InternalError(
        std::format("cannot be stored: {}", StatusText(written)));
  }
  return AnnotateStatus("cannot be stored", written);
}

}  // namespace attention
