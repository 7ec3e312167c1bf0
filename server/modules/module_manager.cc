// SPDX-License-Identifier: Apache-2.0
#include "server/modules/module_manager.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <map>
#include <utility>

#include "core/module/attention_module.h"
#include "core/module/module_name.h"
#include "core/safetensors/safetensors.h"
#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

ModuleDescription DescribeRecord(const ModuleRecord& record) {
  ModuleDescription description;
  description.name = record.name;
  description.state = record.state;
  description.error = record.error;
  if (record.module == nullptr) return description;
  const AttentionModule& module = *record.module;
  // What a float32 query is served with, unless the module is float64.
  const ModuleImplementation& implementation =
      module.implementation(DataType::kFloat32);
  description.version = module.version();
  description.config = module.config();
  description.weights_dtype = module.weights_dtype();
  description.compute_dtype = implementation.compute_dtype();
  description.implementation = implementation.name();
  description.memory_bytes = module.memory_bytes();
  description.weights_digest = module.weights_digest();
  return description;
}

ModuleDescription DescribeStored(const std::string& name) {
  ModuleDescription description;
  description.name = name;
  description.state = ModuleState::kAvailable;
  return description;
}

// A module and its share of the memory for modules.
struct CountedModule {
  std::shared_ptr<const AttentionModule> module;
  AdmissionController::Reservation reservation;
};

}  // namespace

ModuleManager::ModuleManager(ModuleRegistry& registry,
                             std::unique_ptr<ModuleRepository> repository,
                             const Limits& limits)
    : registry_(registry),
      repository_(std::move(repository)),
      limits_(limits),
      loaded_(limits.max_loaded_bytes) {}

absl::StatusOr<ModuleDescription> ModuleManager::Load(const std::string& name,
                                                      bool replace) {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  // Names nobody stored leave no trace in the registry.
  const absl::StatusOr<bool> is_stored = IsStored(name);
  if (!is_stored.ok()) return InModule(name, is_stored.status());
  if (!*is_stored) {
    return absl::NotFoundError(
        FormatText("module '{}' is not in the repository", name));
  }
  ATTENTION_ASSIGN_OR_RETURN(ModuleRegistry::LoadTicket ticket,
                             registry_.BeginLoad(name, replace));
  ATTENTION_RETURN_IF_ERROR(
      Publish(std::move(ticket), repository_->Load(name),
              /*commit=*/[] { return absl::OkStatus(); }));
  return Describe(name);
}

absl::Status ModuleManager::CheckUpload(const UploadOptions& upload) const {
  const std::string& name = upload.name;
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  const auto check = [&]() -> absl::Status {
    ATTENTION_RETURN_IF_ERROR(
        ExpectedWeightsIn(upload.config, upload.source).status());
    if (upload.persist && repository_ == nullptr) {
      return absl::FailedPreconditionError(
          "persist is set, but the server has no module repository");
    }
    if (upload.persist) {
      ATTENTION_RETURN_IF_ERROR(repository_->CheckStore(name));
    }
    if (upload.replace) return absl::OkStatus();
    const absl::StatusOr<ModuleRecord> record = registry_.Describe(name);
    if (record.ok() && record->module != nullptr) {
      return absl::AlreadyExistsError("already served; set replace");
    }
    if (!upload.persist) return absl::OkStatus();
    ATTENTION_ASSIGN_OR_RETURN(const bool is_stored, IsStored(name));
    if (!is_stored) return absl::OkStatus();
    return absl::AlreadyExistsError("already in the repository; set replace");
  };
  return InModule(name, check());
}

absl::StatusOr<ModuleDescription> ModuleManager::LoadUpload(
    const UploadOptions& upload, std::span<const std::byte> file) {
  // Again, now that nobody can come between this and the loading.
  ATTENTION_RETURN_IF_ERROR(CheckUpload(upload));
  ATTENTION_ASSIGN_OR_RETURN(ModuleRegistry::LoadTicket ticket,
                             registry_.BeginLoad(upload.name, upload.replace));
  const absl::StatusOr<SafetensorsView> view = SafetensorsView::Parse(file);
  // Stored once it is known to work, and before it is served.
  const auto commit = [&]() -> absl::Status {
    if (!upload.persist) return absl::OkStatus();
    ATTENTION_ASSIGN_OR_RETURN(
        const SelectedWeights selected,
        SelectModule(*view, upload.config, upload.source));
    return repository_->Store(upload.name, upload.config, selected.tensors);
  };
  absl::StatusOr<StoredModule> stored =
      view.ok() ? ReadModule(*view, upload.config, upload.source)
                : view.status();
  ATTENTION_RETURN_IF_ERROR(
      Publish(std::move(ticket), std::move(stored), commit));
  return Describe(upload.name);
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
            stored->config, std::move(stored->weights), limits_.path);
    if (created.ok()) created = Count(*std::move(created));
    if (created.ok()) ATTENTION_RETURN_IF_ERROR(commit());
    return created;
  };
  absl::StatusOr<std::shared_ptr<const AttentionModule>> module =
      CatchBadAlloc(create);
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
    return absl::ResourceExhaustedError(FormatText(
        "needs {} bytes of memory beside the {} of the modules loaded, "
        "expected at most {} together (--max-loaded-bytes)",
        module->memory_bytes(), loaded_.reserved_bytes(),
        limits_.max_loaded_bytes));
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

absl::StatusOr<ModuleDescription> ModuleManager::Describe(
    const std::string& name) const {
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  const absl::StatusOr<ModuleRecord> record = registry_.Describe(name);
  if (record.ok()) return DescribeRecord(*record);
  const absl::StatusOr<bool> is_stored = IsStored(name);
  if (!is_stored.ok()) return InModule(name, is_stored.status());
  if (!*is_stored) return record.status();
  return DescribeStored(name);
}

absl::StatusOr<std::vector<ModuleDescription>> ModuleManager::List() const {
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> stored,
                             StoredNames());
  std::map<std::string, ModuleDescription> by_name;
  for (const std::string& name : stored) by_name[name] = DescribeStored(name);
  for (const ModuleRecord& record : registry_.List()) {
    by_name[record.name] = DescribeRecord(record);
  }
  std::vector<ModuleDescription> modules;
  modules.reserve(by_name.size());
  for (auto& [name, module] : by_name) modules.push_back(std::move(module));
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
