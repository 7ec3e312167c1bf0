// SPDX-License-Identifier: Apache-2.0
#include "server/modules/module_manager.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <format>
#include <map>
#include <new>
#include <utility>

#include "core/module/attention_module.h"
#include "core/module/module_name.h"
#include "core/safetensors/safetensors.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

v1::ModuleState EncodeState(ModuleState state) {
  switch (state) {
    case ModuleState::kLoading:
      return v1::MODULE_STATE_LOADING;
    case ModuleState::kReady:
      return v1::MODULE_STATE_READY;
    case ModuleState::kUnloading:
      return v1::MODULE_STATE_UNLOADING;
    case ModuleState::kFailed:
      return v1::MODULE_STATE_FAILED;
  }
  return v1::MODULE_STATE_UNSPECIFIED;
}

v1::ModuleInfo EncodeRecord(const ModuleRecord& record) {
  v1::ModuleInfo info;
  info.set_name(record.name);
  info.set_state(EncodeState(record.state));
  info.set_error(record.error);
  if (record.module == nullptr) return info;
  const AttentionModule& module = *record.module;
  // What a float32 query is served with, unless the module is float64.
  const ModuleImplementation& implementation =
      module.implementation(DataType::kFloat32);
  info.set_version(module.version());
  *info.mutable_config() = EncodeModuleConfig(module.config());
  info.set_weights_dtype(EncodeDataType(module.weights_dtype()));
  info.set_compute_dtype(EncodeDataType(implementation.compute_dtype()));
  info.set_implementation(std::string(implementation.name()));
  info.set_memory_bytes(module.memory_bytes());
  info.set_weights_digest(module.weights_digest());
  return info;
}

v1::ModuleInfo AvailableInfo(const std::string& name) {
  v1::ModuleInfo info;
  info.set_name(name);
  info.set_state(v1::MODULE_STATE_AVAILABLE);
  return info;
}

// A module and its share of the memory for modules.
struct CountedModule {
  std::shared_ptr<const AttentionModule> module;
  AdmissionController::Reservation reservation;
};

absl::Status InModule(const std::string& name, const absl::Status& status) {
  return AnnotateStatus(std::format("module '{}'", name), status);
}

}  // namespace

ModuleManager::ModuleManager(ModuleRegistry& registry,
                             std::unique_ptr<ModuleRepository> repository,
                             std::size_t max_loaded_bytes)
    : registry_(registry),
      repository_(std::move(repository)),
      max_loaded_bytes_(max_loaded_bytes),
      loaded_(max_loaded_bytes) {}

absl::StatusOr<v1::ModuleInfo> ModuleManager::Load(const std::string& name,
                                                   bool replace) {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  // Names nobody stored leave no trace in the registry.
  const absl::StatusOr<bool> is_stored = IsStored(name);
  if (!is_stored.ok()) return InModule(name, is_stored.status());
  if (!*is_stored) {
    return absl::NotFoundError(
        std::format("module '{}' is not in the repository", name));
  }
  ATTENTION_ASSIGN_OR_RETURN(ModuleRegistry::LoadTicket ticket,
                             registry_.BeginLoad(name, replace));
  ATTENTION_RETURN_IF_ERROR(
      Publish(std::move(ticket), repository_->Load(name),
              /*commit=*/[] { return absl::OkStatus(); }));
  return Describe(name);
}

absl::Status ModuleManager::CheckUpload(
    const v1::UploadModuleHeader& header) const {
  const std::string& name = header.name();
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  const auto check = [&]() -> absl::Status {
    ATTENTION_ASSIGN_OR_RETURN(const ModuleConfig config,
                               DecodeModuleConfig(header.config()));
    ATTENTION_RETURN_IF_ERROR(
        ExpectedWeightsIn(config, DecodeWeightSource(header.weights_prefix(),
                                                     header.weight_names()))
            .status());
    if (header.persist() && repository_ == nullptr) {
      return absl::FailedPreconditionError(
          "persist is set, but the server has no module repository");
    }
    if (header.persist()) {
      ATTENTION_RETURN_IF_ERROR(repository_->CheckStore(name));
    }
    if (header.replace()) return absl::OkStatus();
    const absl::StatusOr<ModuleRecord> record = registry_.Describe(name);
    if (record.ok() && record->module != nullptr) {
      return absl::AlreadyExistsError("already served; set replace");
    }
    if (!header.persist()) return absl::OkStatus();
    ATTENTION_ASSIGN_OR_RETURN(const bool is_stored, IsStored(name));
    if (!is_stored) return absl::OkStatus();
    return absl::AlreadyExistsError("already in the repository; set replace");
  };
  return InModule(name, check());
}

absl::StatusOr<v1::ModuleInfo> ModuleManager::LoadUpload(
    const v1::UploadModuleHeader& header, std::span<const std::byte> file) {
  // Again, now that nobody can come between this and the loading.
  ATTENTION_RETURN_IF_ERROR(CheckUpload(header));
  ATTENTION_ASSIGN_OR_RETURN(
      ModuleRegistry::LoadTicket ticket,
      registry_.BeginLoad(header.name(), header.replace()));
  ATTENTION_ASSIGN_OR_RETURN(const ModuleConfig config,
                             DecodeModuleConfig(header.config()));
  const absl::StatusOr<SafetensorsView> view = SafetensorsView::Parse(file);
  const WeightSource source =
      DecodeWeightSource(header.weights_prefix(), header.weight_names());
  // Stored once it is known to work, and before it is served.
  const auto commit = [&]() -> absl::Status {
    if (!header.persist()) return absl::OkStatus();
    ATTENTION_ASSIGN_OR_RETURN(const SelectedWeights selected,
                               SelectModule(*view, config, source));
    return repository_->Store(header.name(), config, selected.tensors);
  };
  absl::StatusOr<StoredModule> stored =
      view.ok() ? ReadModule(*view, config, source) : view.status();
  ATTENTION_RETURN_IF_ERROR(
      Publish(std::move(ticket), std::move(stored), commit));
  return Describe(header.name());
}

absl::Status ModuleManager::Publish(
    ModuleRegistry::LoadTicket ticket, absl::StatusOr<StoredModule> stored,
    const std::function<absl::Status()>& commit) {
  const std::string name = ticket.name();
  const std::uint64_t version = ticket.version();
  const auto create =
      [&]() -> absl::StatusOr<std::shared_ptr<const AttentionModule>> {
    if (!stored.ok()) return stored.status();
    absl::StatusOr<std::shared_ptr<const AttentionModule>> created =
        AttentionModule::Create(
            {.name = name,
             .version = version,
             .weights_digest = std::move(stored->weights_digest)},
            stored->config, std::move(stored->weights));
    if (created.ok()) created = Count(*std::move(created));
    if (created.ok()) ATTENTION_RETURN_IF_ERROR(commit());
    return created;
  };
  absl::StatusOr<std::shared_ptr<const AttentionModule>> module =
      absl::ResourceExhaustedError("memory is exhausted");
  try {
    module = create();
  } catch (const std::bad_alloc&) {
    // Keeps the status above.
  }
  if (!module.ok()) {
    std::move(ticket).Fail(module.status());
    return InModule(name, module.status());
  }
  spdlog::info("serving module {} version {} ({}, {} bytes)", name, version,
               (*module)->implementation(DataType::kFloat32).name(),
               (*module)->memory_bytes());
  std::move(ticket).Publish(*std::move(module));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const AttentionModule>> ModuleManager::Count(
    std::shared_ptr<const AttentionModule> module) {
  absl::StatusOr<AdmissionController::Reservation> reservation =
      loaded_.Reserve(module->memory_bytes());
  if (!reservation.ok()) {
    return absl::ResourceExhaustedError(std::format(
        "needs {} bytes of memory beside the {} of the modules loaded, "
        "expected at most {} together (--max-loaded-bytes)",
        module->memory_bytes(), loaded_.reserved_bytes(), max_loaded_bytes_));
  }
  const auto counted = std::make_shared<CountedModule>(std::move(module),
                                                       *std::move(reservation));
  return {{counted, counted->module.get()}};
}

absl::Status ModuleManager::Unload(const std::string& name) {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  ATTENTION_RETURN_IF_ERROR(registry_.Unload(name));
  malloc_trim(0);  // else the allocator would keep much of the memory
  spdlog::info("unloaded module {}", name);
  return absl::OkStatus();
}

absl::StatusOr<v1::ModuleInfo> ModuleManager::Describe(
    const std::string& name) const {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  const absl::StatusOr<ModuleRecord> record = registry_.Describe(name);
  if (record.ok()) return EncodeRecord(*record);
  const absl::StatusOr<bool> is_stored = IsStored(name);
  if (!is_stored.ok()) return InModule(name, is_stored.status());
  if (!*is_stored) return record.status();
  return AvailableInfo(name);
}

absl::StatusOr<std::vector<v1::ModuleInfo>> ModuleManager::List() const {
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> stored,
                             StoredNames());
  std::map<std::string, v1::ModuleInfo> by_name;
  for (const std::string& name : stored) by_name[name] = AvailableInfo(name);
  for (const ModuleRecord& record : registry_.List()) {
    by_name[record.name] = EncodeRecord(record);
  }
  std::vector<v1::ModuleInfo> modules;
  modules.reserve(by_name.size());
  for (auto& [name, info] : by_name) modules.push_back(std::move(info));
  return modules;
}

absl::StatusOr<std::vector<std::string>> ModuleManager::StoredNames() const {
  if (repository_ == nullptr) return std::vector<std::string>();
  return repository_->List();
}

absl::StatusOr<bool> ModuleManager::IsStored(const std::string& name) const {
  if (repository_ == nullptr) return false;
  return repository_->Contains(name);
}

}  // namespace attention
