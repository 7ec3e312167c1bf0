// SPDX-License-Identifier: Apache-2.0
#include "core/module/module_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/testing/attention_case.h"

namespace attention {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::shared_ptr<const AttentionModule> MakeModule(const std::string& name,
                                                  std::uint64_t version) {
  MultiHeadAttentionConfig config;
  config.embed_dim = 2;
  config.num_heads = 1;
  return AttentionModule::Create(
             {name, version, ""}, config,
             testing::MakeWeights(config, DataType::kFloat32, /*seed=*/1))
      .value();
}

/// Load a name the way a service does, and return what is served.
std::shared_ptr<const AttentionModule> Load(ModuleRegistry& registry,
                                            const std::string& name) {
  auto ticket = registry.BeginLoad(name, /*replace=*/true).value();
  auto module = MakeModule(name, ticket.version());
  std::move(ticket).Publish(module);
  return module;
}

ModuleState StateOf(const ModuleRegistry& registry, const std::string& name) {
  return registry.Describe(name).value().state;
}

TEST(ModuleRegistryTest, DoesNotFindAnUnknownName) {
  const ModuleRegistry registry;

  EXPECT_EQ(registry.Find("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry.Describe("a").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ModuleRegistryTest, ServesAPublishedModule) {
  ModuleRegistry registry;
  const auto module = Load(registry, "a");

  const auto found = registry.Find("a");

  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, module);
  EXPECT_EQ(StateOf(registry, "a"), ModuleState::kReady);
}

TEST(ModuleRegistryTest, IsUnavailableDuringTheFirstLoad) {
  ModuleRegistry registry;
  const auto ticket = registry.BeginLoad("a", /*replace=*/false);

  EXPECT_EQ(registry.Find("a").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(StateOf(registry, "a"), ModuleState::kLoading);
}

TEST(ModuleRegistryTest, ServesTheOldModuleWhileAReplacementLoads) {
  ModuleRegistry registry;
  const auto old = Load(registry, "a");

  const auto ticket = registry.BeginLoad("a", /*replace=*/true);

  EXPECT_EQ(registry.Find("a").value(), old);
  EXPECT_EQ(StateOf(registry, "a"), ModuleState::kReady);
}

TEST(ModuleRegistryTest, ReplacesAModuleWithAHigherVersion) {
  ModuleRegistry registry;
  Load(registry, "a");

  const auto replacement = Load(registry, "a");

  EXPECT_EQ(registry.Find("a").value(), replacement);
  EXPECT_EQ(registry.Describe("a").value().version, 2U);
}

TEST(ModuleRegistryTest, DoesNotReplaceUnasked) {
  ModuleRegistry registry;
  Load(registry, "a");

  const auto ticket = registry.BeginLoad("a", /*replace=*/false);

  EXPECT_EQ(ticket.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(ticket.status().message()), HasSubstr("'a'"));
}

TEST(ModuleRegistryTest, RefusesASecondLoadOfAName) {
  ModuleRegistry registry;
  const auto ticket = registry.BeginLoad("a", /*replace=*/true);

  EXPECT_EQ(registry.BeginLoad("a", /*replace=*/true).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_TRUE(registry.BeginLoad("b", /*replace=*/true).ok());
}

TEST(ModuleRegistryTest, RemembersWhyALoadFailed) {
  ModuleRegistry registry;
  auto ticket = registry.BeginLoad("a", /*replace=*/false).value();

  std::move(ticket).Fail(absl::InvalidArgumentError("no such weight"));

  const ModuleRecord record = registry.Describe("a").value();
  EXPECT_EQ(record.state, ModuleState::kFailed);
  EXPECT_EQ(record.error, "no such weight");
  EXPECT_EQ(registry.Find("a").status().code(), absl::StatusCode::kNotFound);
}

TEST(ModuleRegistryTest, CountsADroppedTicketAsFailed) {
  ModuleRegistry registry;

  registry.BeginLoad("a", /*replace=*/false).value();

  EXPECT_EQ(StateOf(registry, "a"), ModuleState::kFailed);
  EXPECT_FALSE(registry.Describe("a").value().error.empty());
}

TEST(ModuleRegistryTest, EndsAMovedTicketOnce) {
  ModuleRegistry registry;
  {
    auto ticket = registry.BeginLoad("a", /*replace=*/false).value();
    ModuleRegistry::LoadTicket moved = std::move(ticket);
    std::move(moved).Publish(MakeModule("a", moved.version()));
  }

  EXPECT_EQ(StateOf(registry, "a"), ModuleState::kReady);
}

TEST(ModuleRegistryTest, ServesTheOldModuleAfterAReplacementFailed) {
  ModuleRegistry registry;
  const auto old = Load(registry, "a");
  auto ticket = registry.BeginLoad("a", /*replace=*/true).value();

  std::move(ticket).Fail(absl::InternalError("broken"));

  EXPECT_EQ(registry.Find("a").value(), old);
  const ModuleRecord record = registry.Describe("a").value();
  EXPECT_EQ(record.state, ModuleState::kReady);
  EXPECT_EQ(record.version, 1U);
  EXPECT_EQ(record.error, "broken");
}

TEST(ModuleRegistryTest, ForgetsTheErrorWithTheNextLoad) {
  ModuleRegistry registry;
  registry.BeginLoad("a", /*replace=*/false).value();

  Load(registry, "a");

  EXPECT_EQ(registry.Describe("a").value().error, "");
}

TEST(ModuleRegistryTest, DoesNotServeAnUnloadedModule) {
  ModuleRegistry registry;
  Load(registry, "a");

  EXPECT_TRUE(registry.Unload("a").ok());

  EXPECT_EQ(registry.Find("a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry.Unload("a").code(), absl::StatusCode::kNotFound);
}

TEST(ModuleRegistryTest, FreesAnUnloadedModuleWithItsLastUser) {
  ModuleRegistry registry;
  auto user = Load(registry, "a");
  const std::weak_ptr<const AttentionModule> module = user;
  ASSERT_TRUE(registry.Unload("a").ok());
  EXPECT_EQ(StateOf(registry, "a"), ModuleState::kUnloading);

  user.reset();

  EXPECT_TRUE(module.expired());
  EXPECT_EQ(registry.Describe("a").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_TRUE(registry.List().empty());
}

TEST(ModuleRegistryTest, FreesAReplacedModuleAtOnce) {
  ModuleRegistry registry;
  const std::weak_ptr<const AttentionModule> old = Load(registry, "a");

  Load(registry, "a");

  EXPECT_TRUE(old.expired());
}

TEST(ModuleRegistryTest, NeverReusesAVersion) {
  ModuleRegistry registry;
  Load(registry, "a");
  ASSERT_TRUE(registry.Unload("a").ok());
  Load(registry, "b");  // forgets "a", which nobody uses
  registry.BeginLoad("a", /*replace=*/false).value();

  const auto again = Load(registry, "a");

  EXPECT_EQ(again->version(), 3U);
}

TEST(ModuleRegistryTest, PublishesAReplacementAlthoughTheOldOneWasUnloaded) {
  ModuleRegistry registry;
  Load(registry, "a");
  auto ticket = registry.BeginLoad("a", /*replace=*/true).value();

  ASSERT_TRUE(registry.Unload("a").ok());
  EXPECT_EQ(registry.Find("a").status().code(), absl::StatusCode::kUnavailable);
  std::move(ticket).Publish(MakeModule("a", 2));

  EXPECT_EQ(registry.Find("a").value()->version(), 2U);
}

TEST(ModuleRegistryTest, ListsEveryNameInOrder) {
  ModuleRegistry registry;
  Load(registry, "ready");
  registry.BeginLoad("failed", /*replace=*/false).value();
  const auto loading = registry.BeginLoad("loading", /*replace=*/false);
  const auto user = Load(registry, "unloading");
  ASSERT_TRUE(registry.Unload("unloading").ok());

  std::vector<std::pair<std::string, ModuleState>> states;
  for (const ModuleRecord& record : registry.List()) {
    states.emplace_back(record.name, record.state);
    EXPECT_EQ(record.module != nullptr, record.name == "ready");
  }

  EXPECT_THAT(states,
              ElementsAre(std::pair("failed", ModuleState::kFailed),
                          std::pair("loading", ModuleState::kLoading),
                          std::pair("ready", ModuleState::kReady),
                          std::pair("unloading", ModuleState::kUnloading)));
}

TEST(ModuleRegistryTest, ForgetsTheOldestFailures) {
  ModuleRegistry registry;
  for (std::size_t i = 0; i <= ModuleRegistry::kMaxFailedRecords; ++i) {
    registry.BeginLoad("z" + std::to_string(1000 - i), false).value();
  }

  EXPECT_EQ(registry.List().size(), ModuleRegistry::kMaxFailedRecords);
  EXPECT_FALSE(registry.Describe("z1000").ok());
}

TEST(ModuleRegistryTest, TellsWhenServingStartsAndStops) {
  std::vector<std::pair<std::string, bool>> changes;
  ModuleRegistry registry([&changes](std::string_view name, bool serving) {
    changes.emplace_back(name, serving);
  });

  Load(registry, "a");
  Load(registry, "a");
  registry.BeginLoad("b", /*replace=*/false).value();
  ASSERT_TRUE(registry.Unload("a").ok());

  EXPECT_THAT(changes,
              ElementsAre(std::pair("a", true), std::pair("a", false)));
}

TEST(ModuleRegistryTest, ServesWithoutAGapWhileModulesAreReplaced) {
  ModuleRegistry registry;
  Load(registry, "a");
  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      while (!done.load()) {
        const auto module = registry.Find("a");
        if (!module.ok() || (*module)->version() < last) ++failures;
        if (module.ok()) last = (*module)->version();
      }
    });
  }

  for (int i = 0; i < 50; ++i) Load(registry, "a");
  done = true;
  for (std::thread& reader : readers) reader.join();

  EXPECT_EQ(failures, 0);
}

TEST(ModuleRegistryTest, LetsOneOfManyConcurrentLoadersWin) {
  ModuleRegistry registry;
  std::atomic<int> published{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> loaders;
  for (int i = 0; i < 8; ++i) {
    loaders.emplace_back([&] {
      auto ticket = registry.BeginLoad("a", /*replace=*/false);
      if (!ticket.ok()) {
        ++refused;
        return;
      }
      const std::uint64_t version = ticket->version();
      (*std::move(ticket)).Publish(MakeModule("a", version));
      ++published;
    });
  }
  for (std::thread& loader : loaders) loader.join();

  EXPECT_EQ(published, 1);
  EXPECT_EQ(refused, 7);
}

}  // namespace
}  // namespace attention
