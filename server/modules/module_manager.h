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
#include "core/attention/module_description.h"
#include "core/module/compute_choice.h"
#include "core/module/module_registry.h"
#include "core/serving/admission_controller.h"
#include "server/repository/module_repository.h"
#include "server/weights/stored_module.h"

namespace attention {

// The room `server/modules`: how modules come and go: by name out of the
// repository, by upload, one long piece of work after the other. Enters: names,
// UploadOptions and the bytes of files; leaves: ModuleDescriptions. Uses
// server/repository, server/weights and core; sees neither messages nor calls.

/// What ModuleService does, without the RPCs: brings modules from the
/// repository and from uploads into the registry.
///
/// Load, LoadUpload and Unload may take long; the rest is quick, List and
/// StoredNames but for a directory with very many entries. Thread-safe.
class ModuleManager {
 public:
  /// What the manager keeps to.
  struct Limits {
    /// Most memory of all modules served, and of those no longer served that
    /// requests in flight still use.
    std::size_t max_loaded_bytes = 0;
    /// What modules are computed with.
    PathChoice path = PathChoice::kAuto;
  };

  /// \param registry is borrowed. \param repository may be null.
  ModuleManager(ModuleRegistry& registry,
                std::unique_ptr<ModuleRepository> repository,
                const Limits& limits);

  /// Serve a module of the repository.
  /// \return as ModuleService.LoadModule.
  [[nodiscard]] absl::StatusOr<ModuleDescription> Load(const std::string& name,
                                                       bool replace);

  /// Memory of all modules, those included that are unloaded and still in use.
  [[nodiscard]] std::size_t loaded_bytes() const {
    return loaded_.reserved_bytes();
  }

  /// Refuse an upload that cannot succeed, before its bytes are sent.
  [[nodiscard]] absl::Status CheckUpload(const UploadOptions& upload) const;

  /// Serve, and store if asked, a module whose file was sent.
  /// \return as ModuleService.UploadModule.
  [[nodiscard]] absl::StatusOr<ModuleDescription> LoadUpload(
      const UploadOptions& upload, std::span<const std::byte> file);

  /// \return NOT_FOUND when it is not served.
  [[nodiscard]] absl::Status Unload(const std::string& name);

  /// \return NOT_FOUND when neither served nor in the repository.
  [[nodiscard]] absl::StatusOr<ModuleDescription> Describe(
      const std::string& name) const;

  /// Describe every module, by name. Lists the repository's directory.
  [[nodiscard]] absl::StatusOr<std::vector<ModuleDescription>> List() const;

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
  const Limits limits_;
  AdmissionController loaded_;
};

}  // namespace attention
