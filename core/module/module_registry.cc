// SPDX-License-Identifier: Apache-2.0
#include "core/module/module_registry.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_text.h"

namespace attention {

ModuleRegistry::LoadTicket::LoadTicket(ModuleRegistry& registry,
                                       std::string name, std::uint64_t version)
    : registry_(&registry), name_(std::move(name)), version_(version) {}

ModuleRegistry::LoadTicket::LoadTicket(LoadTicket&& other) noexcept
    : registry_(std::exchange(other.registry_, nullptr)),
      name_(std::move(other.name_)),
      version_(other.version_) {}

ModuleRegistry::LoadTicket::~LoadTicket() {
  if (registry_ == nullptr) return;
  std::exchange(registry_, nullptr)
      ->EndLoad(name_, absl::CancelledError("the load was abandoned"));
}

void ModuleRegistry::LoadTicket::Publish(
    std::shared_ptr<const AttentionModule> module) && {
  assert(registry_ != nullptr && "the ticket has ended");
  assert(module->name() == name_ && module->version() == version_ &&
         "the module is not the ticket's");
  std::exchange(registry_, nullptr)->EndLoad(name_, std::move(module));
}

void ModuleRegistry::LoadTicket::Fail(const absl::Status& why) && {
  assert(registry_ != nullptr && "the ticket has ended");
  std::exchange(registry_, nullptr)->EndLoad(name_, why);
}

std::optional<ModuleState> ModuleRegistry::Entry::state() const {
  if (serving != nullptr) return ModuleState::kReady;
  if (loading) return ModuleState::kLoading;
  if (!error.empty()) return ModuleState::kFailed;
  if (!retired.expired()) return ModuleState::kUnloading;
  return std::nullopt;
}

ModuleRegistry::ModuleRegistry(Listener on_change)
    : on_change_(std::move(on_change)) {}

absl::StatusOr<std::shared_ptr<const AttentionModule>> ModuleRegistry::Find(
    std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found != entries_.end() && found->second.serving != nullptr) {
    return found->second.serving;
  }
  if (found != entries_.end() && found->second.loading) {
    return absl::UnavailableError(
        FormatText("module {} is still loading", Quote(name)));
  }
  const bool failed = found != entries_.end() && !found->second.error.empty();
  return absl::NotFoundError(
      FormatText("no module {} is served{}", Quote(name),
                 failed ? ": its last load failed" : ""));
}

absl::StatusOr<ModuleRegistry::LoadTicket> ModuleRegistry::BeginLoad(
    std::string_view name, bool replace) {
  const std::lock_guard lock(mutex_);
  ForgetGone();
  std::string own_name(name);  // before anything has changed
  const auto [found, is_new] = entries_.try_emplace(own_name);
  Entry& entry = found->second;
  if (entry.loading) {
    return absl::AbortedError(
        FormatText("another load of module {} is under way", Quote(name)));
  }
  if (entry.serving != nullptr && !replace) {
    return absl::AlreadyExistsError(
        FormatText("module {} is served already, in version {}; set replace",
                   Quote(name), entry.serving->version()));
  }
  if (is_new) entry.version = version_floor_;
  ++entry.version;
  entry.loading = true;
  entry.error.clear();
  return LoadTicket(*this, std::move(own_name), entry.version);
}

absl::Status ModuleRegistry::Unload(std::string_view name) {
  // Declared before the lock, so that the module is freed after unlocking.
  std::shared_ptr<const AttentionModule> unloaded;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.serving == nullptr) {
    return absl::NotFoundError(
        FormatText("no module {} is served", Quote(name)));
  }
  Entry& entry = found->second;
  unloaded = std::exchange(entry.serving, nullptr);
  entry.retired = unloaded;
  entry.error.clear();
  if (on_change_) on_change_(name, /*serving=*/false);
  return absl::OkStatus();
}

absl::StatusOr<ModuleRecord> ModuleRegistry::Describe(
    std::string_view name) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) {
    if (const std::optional<ModuleState> state = found->second.state()) {
      return Describe(found->first, found->second, *state);
    }
  }
  return absl::NotFoundError(FormatText("no module {} is known", Quote(name)));
}

std::vector<ModuleRecord> ModuleRegistry::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModuleRecord> records;
  for (const auto& [name, entry] : entries_) {
    if (const std::optional<ModuleState> state = entry.state()) {
      records.push_back(Describe(name, entry, *state));
    }
  }
  return records;
}

void ModuleRegistry::EndLoad(const std::string& name,
                             std::shared_ptr<const AttentionModule> module) {
  // Declared before the lock, so that the module is freed after unlocking.
  std::shared_ptr<const AttentionModule> replaced;
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_.find(name)->second;
  entry.loading = false;
  replaced = std::exchange(entry.serving, std::move(module));
  if (replaced == nullptr && on_change_) on_change_(name, /*serving=*/true);
}

void ModuleRegistry::EndLoad(const std::string& name, const absl::Status& why) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_.find(name)->second;
  entry.loading = false;
  entry.error = why.message().empty() ? "unknown error" : StatusText(why);
  entry.failure = ++num_failures_;
  ForgetOldestFailure();
}

void ModuleRegistry::Forget(Entries::iterator entry) {
  version_floor_ = std::max(version_floor_, entry->second.version);
  entries_.erase(entry);
}

void ModuleRegistry::ForgetGone() {
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto entry = next++;
    if (!entry->second.state().has_value()) Forget(entry);
  }
}

void ModuleRegistry::ForgetOldestFailure() {
  std::size_t num_failed = 0;
  auto oldest = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->second.state() != ModuleState::kFailed) continue;
    ++num_failed;
    if (oldest == entries_.end() ||
        entry->second.failure < oldest->second.failure) {
      oldest = entry;
    }
  }
  if (num_failed > kMaxFailedRecords) Forget(oldest);
}

ModuleRecord ModuleRegistry::Describe(const std::string& name,
                                      const Entry& entry, ModuleState state) {
  const std::uint64_t version =
      entry.serving != nullptr ? entry.serving->version() : entry.version;
  return {name, state, version, entry.error, entry.serving};
}

}  // namespace attention
