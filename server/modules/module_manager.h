// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/v1/module_service.pb.h"
#include "core/module/module_registry.h"
#include "core/serving/admission_controller.h"
#include "server/repository/module_repository.h"
#include "server/repository/stored_module.h"

namespace attention {

/// What ModuleService does, without the RPCs: brings modules from the
/// repository and from uploads into the registry.
///
/// Load, LoadUpload and Unload may take long; the rest is quick, List and
/// StoredNames but for a directory with very many entries. Thread-safe.
class ModuleManager {
 public:
  /// \param registry is borrowed. \param repository may be null.
  /// \param max_loaded_bytes most memory of all modules served, and of those
  ///   no longer served that requests in flight still use.
  ModuleManager(ModuleRegistry& registry,
                std::unique_ptr<ModuleRepository> repository,
                std::size_t max_loaded_bytes);

  /// Serve a module of the repository.
  /// \return as ModuleService.LoadModule.
  [[nodiscard]] absl::StatusOr<v1::ModuleInfo> Load(const std::string& name,
                                                    bool replace);

  /// Refuse an upload that cannot succeed, before its bytes are sent.
  [[nodiscard]] absl::Status CheckUpload(
      const v1::UploadModuleHeader& header) const;

  /// Serve, and store if asked, a module whose file was sent.
  /// \return as ModuleService.UploadModule.
  [[nodiscard]] absl::StatusOr<v1::ModuleInfo> LoadUpload(
      const v1::UploadModuleHeader& header, std::span<const std::byte> file);

  /// \return NOT_FOUND when it is not served.
  [[nodiscard]] absl::Status Unload(const std::string& name);

  /// \return NOT_FOUND when neither served nor in the repository.
  [[nodiscard]] absl::StatusOr<v1::ModuleInfo> Describe(
      const std::string& name) const;

  /// Describe every module, by name. Lists the repository's directory.
  [[nodiscard]] absl::StatusOr<std::vector<v1::ModuleInfo>> List() const;

  /// Names in the repository; none without one.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> StoredNames() const;

 private:
  // Make a module of what was read and, once `commit` has succeeded, serve it.
  [[nodiscard]] absl::Status Publish(
      ModuleRegistry::LoadTicket ticket, absl::StatusOr<StoredModule> stored,
      const std::function<absl::Status()>& commit);
  // Return the module, counted as loaded as long as anyone holds it.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const AttentionModule>> Count(
      std::shared_ptr<const AttentionModule> module);
  // Whether the repository has it. \return an error when that cannot be told.
  [[nodiscard]] absl::StatusOr<bool> IsStored(const std::string& name) const;

  ModuleRegistry& registry_;
  const std::unique_ptr<ModuleRepository> repository_;
  const std::size_t max_loaded_bytes_;
  AdmissionController loaded_;
};

}  // namespace attention
