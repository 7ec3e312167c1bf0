// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/module_description.h"
#include "core/module/attention_module.h"

namespace attention {

/// What the registry knows about one name at one moment.
struct ModuleRecord {
  std::string name;
  /// kLoading → kReady → kUnloading → (gone);  kLoading → kFailed → kLoading.
  ModuleState state = ModuleState::kLoading;
  /// Of the served module; of the last one, or of the load, when none is.
  std::uint64_t version = 0;
  /// Why the last load failed; also beside kReady, when a replacement failed.
  std::string error;
  /// Null unless kReady. Keeps the module alive: do not store.
  std::shared_ptr<const AttentionModule> module;
};

/// The modules that are served, by name.
///
/// Loading happens outside, under a ticket: BeginLoad, make the module, then
/// Publish or Fail; a ticket that is dropped counts as failed. Requests that
/// found a module keep it alive by its shared_ptr; the registry itself keeps
/// nothing of a module that was replaced or unloaded, so its memory is freed
/// when the last of them is done.
/// Thread-safe. Must outlive its tickets.
class ModuleRegistry {
 public:
  /// Told when a name starts or stops being served; not at replacements.
  /// Called in the order of the changes with the registry locked: must be
  /// quick and must not call the registry.
  using Listener = std::function<void(std::string_view name, bool serving)>;

  /// Failed names remembered for List; the oldest are forgotten beyond that.
  static constexpr std::size_t kMaxFailedRecords = 256;

  /// The right to load one name. Move-only. Not thread-safe.
  class LoadTicket {
   public:
    LoadTicket(LoadTicket&& other) noexcept;
    LoadTicket& operator=(LoadTicket&&) = delete;
    LoadTicket(const LoadTicket&) = delete;
    LoadTicket& operator=(const LoadTicket&) = delete;
    ~LoadTicket();

    [[nodiscard]] const std::string& name() const { return name_; }
    /// The version the module must be made with.
    [[nodiscard]] std::uint64_t version() const { return version_; }

    /// Serve `module`, of this name and version, from now on. Ends the ticket.
    void Publish(std::shared_ptr<const AttentionModule> module) &&;
    /// Record why there is none; an older version stays served. Ends the
    /// ticket.
    void Fail(const absl::Status& why) &&;

   private:
    friend class ModuleRegistry;
    LoadTicket(ModuleRegistry& registry, std::string name,
               std::uint64_t version);

    ModuleRegistry* registry_;  ///< null once ended
    std::string name_;
    std::uint64_t version_;
  };

  explicit ModuleRegistry(Listener on_change = {});
  ~ModuleRegistry() = default;
  ModuleRegistry(const ModuleRegistry&) = delete;
  ModuleRegistry& operator=(const ModuleRegistry&) = delete;

  /// Find the module to serve a request with.
  /// \return NOT_FOUND when no module of this name is served, UNAVAILABLE when
  ///   its first load is under way.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const AttentionModule>> Find(
      std::string_view name) const;

  /// Reserve a name for loading, and a version: higher than any this name ever
  /// had in this process, also when it was unloaded or failed meanwhile.
  ///
  /// Other loads of the name are refused until the ticket ends, so take it when
  /// the bytes are there, not before a client sends them.
  /// \return ALREADY_EXISTS when the name is served and not `replace`, ABORTED
  ///   when another load of it is under way.
  [[nodiscard]] absl::StatusOr<LoadTicket> BeginLoad(std::string_view name,
                                                     bool replace);

  /// Stop serving a name. A replacement that is loading goes on, and is served
  /// when it is published.
  /// \return NOT_FOUND when it is not served.
  [[nodiscard]] absl::Status Unload(std::string_view name);

  /// Describe one name.
  /// \return NOT_FOUND when the registry does not know it.
  [[nodiscard]] absl::StatusOr<ModuleRecord> Describe(
      std::string_view name) const;

  /// Describe every name, in ascending order.
  [[nodiscard]] std::vector<ModuleRecord> List() const;

 private:
  struct Entry {
    std::shared_ptr<const AttentionModule> serving;
    /// The module unloaded last; expired once nobody uses it.
    std::weak_ptr<const AttentionModule> retired;
    bool loading = false;
    std::uint64_t version = 0;  ///< the last one given out
    std::string error;          ///< of the last load; empty: it did not fail
    std::uint64_t failure = 0;  ///< ordinal of that failure

    /// Empty when nothing is left to say of the name.
    [[nodiscard]] std::optional<ModuleState> state() const;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  void EndLoad(const std::string& name,
               std::shared_ptr<const AttentionModule> module);
  void EndLoad(const std::string& name, const absl::Status& why);
  void Forget(Entries::iterator entry);
  void ForgetGone();
  void ForgetOldestFailure();
  [[nodiscard]] static ModuleRecord Describe(const std::string& name,
                                             const Entry& entry,
                                             ModuleState state);

  const Listener on_change_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::uint64_t num_failures_ = 0;
  /// Highest version of any forgotten entry; a new entry starts above it, so
  /// versions need not be remembered per name for ever.
  std::uint64_t version_floor_ = 0;
};

}  // namespace attention
