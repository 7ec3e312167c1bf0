// SPDX-License-Identifier: Apache-2.0
#include "server/host/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "server/host/cpu_count.h"
#include "server/host/descriptor_limit.h"
#include "server/host/memory_size.h"

namespace attention {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Variables that are set while this lives.
class Environment {
 public:
  explicit Environment(std::map<std::string, std::string> variables)
      : variables_(std::move(variables)) {
    for (const auto& [name, value] : variables_) {
      setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : variables_) unsetenv(name.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const std::map<std::string, std::string> variables_;
};

constexpr std::size_t kNumDescriptors = 4096;

std::variant<ServerOptions, EarlyExit> Parse(
    std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "attention-server");
  return ParseOptions(static_cast<int>(arguments.size()), arguments.data(),
                      kNumDescriptors);
}

ServerOptions ParseGood(std::vector<const char*> arguments) {
  const auto parsed = Parse(std::move(arguments));
  if (const auto* exit = std::get_if<EarlyExit>(&parsed)) {
    ADD_FAILURE() << exit->text;
    return {};
  }
  return std::get<ServerOptions>(parsed);
}

TEST(OptionsTest, HasDefaults) {
  const ServerOptions options = ParseGood({});

  EXPECT_THAT(options.listen, ElementsAre("127.0.0.1:50051"));
  EXPECT_EQ(options.modules, "");
  EXPECT_TRUE(options.load.empty());
  EXPECT_EQ(options.threads, UsableCpus());
  EXPECT_FALSE(options.pin_threads);
  EXPECT_EQ(options.compute_path, PathChoice::kAuto);
  EXPECT_EQ(options.batch.max_tokens, 1024);
  EXPECT_EQ(options.batch.max_delay, std::chrono::microseconds(0));
  EXPECT_EQ(options.max_message_bytes, 256U << 20);
  EXPECT_EQ(options.max_loaded_bytes, UsableMemory() / 2);
  EXPECT_EQ(options.max_connections, DefaultMaxConnections(kNumDescriptors));
  EXPECT_EQ(options.log_level, "info");
  EXPECT_EQ(options.log_format, "text");
  EXPECT_FALSE(options.log_slow.has_value());
  EXPECT_EQ(options.metrics_listen, "");
  EXPECT_EQ(options.drain_grace, std::chrono::seconds(30));
}

TEST(OptionsTest, TakesFlags) {
  const ServerOptions options = ParseGood({"--listen",
                                           "127.0.0.1:1",
                                           "--listen",
                                           "unix:/s",
                                           "--modules",
                                           "dir",
                                           "--load",
                                           "a",
                                           "b",
                                           "--threads",
                                           "3",
                                           "--pin-threads",
                                           "--compute-path",
                                           "primitives",
                                           "--max-batch-tokens",
                                           "64",
                                           "--max-batch-delay",
                                           "250",
                                           "--max-message-bytes",
                                           "1MiB",
                                           "--max-module-bytes",
                                           "2GiB",
                                           "--max-loaded-bytes",
                                           "8GiB",
                                           "--max-queue-bytes",
                                           "4096",
                                           "--max-connections",
                                           "77",
                                           "--log-level",
                                           "debug",
                                           "--log-format",
                                           "json",
                                           "--log-slow",
                                           "50",
                                           "--metrics-listen",
                                           "9464",
                                           "--drain-grace",
                                           "5"});

  EXPECT_THAT(options.listen, ElementsAre("127.0.0.1:1", "unix:/s"));
  EXPECT_EQ(options.modules, "dir");
  EXPECT_THAT(options.load, ElementsAre("a", "b"));
  EXPECT_EQ(options.threads, 3U);
  EXPECT_TRUE(options.pin_threads);
  EXPECT_EQ(options.compute_path, PathChoice::kPrimitives);
  EXPECT_EQ(options.batch.max_tokens, 64);
  EXPECT_EQ(options.batch.max_delay, std::chrono::microseconds(250));
  EXPECT_EQ(options.max_message_bytes, 1U << 20);
  EXPECT_EQ(options.max_module_bytes, 2U << 30);
  EXPECT_EQ(options.max_loaded_bytes, std::size_t{8} << 30);
  EXPECT_EQ(options.max_queue_bytes, 4096U);
  EXPECT_EQ(options.max_connections, 77U);
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_EQ(options.log_format, "json");
  EXPECT_EQ(options.log_slow, std::chrono::milliseconds(50));
  EXPECT_EQ(options.metrics_listen, "9464");
  EXPECT_EQ(options.drain_grace, std::chrono::seconds(5));
}

TEST(OptionsTest, TakesDirectoriesThatLinksMayLeadInto) {
  EXPECT_THAT(ParseGood({"--modules", "dir", "--modules-link-root", "a",
                         "--modules-link-root", "b"})
                  .modules_link_roots,
              ElementsAre("a", "b"));
  const Environment environment(
      {{"ATTENTION_MODULES", "dir"}, {"ATTENTION_MODULES_LINK_ROOT", "a,b"}});
  EXPECT_THAT(ParseGood({}).modules_link_roots, ElementsAre("a", "b"));
}

TEST(OptionsTest, DirectoriesForLinksNeedARepository) {
  const auto parsed = Parse({"--modules-link-root", "a"});

  ASSERT_TRUE(std::holds_alternative<EarlyExit>(parsed));
  EXPECT_EQ(std::get<EarlyExit>(parsed).code, kExitUsageError);
}

TEST(OptionsTest, TakesEveryOptionFromTheEnvironment) {
  const Environment environment({{"ATTENTION_LISTEN", "127.0.0.1:1,unix:/s"},
                                 {"ATTENTION_MODULES", "dir"},
                                 {"ATTENTION_LOAD", "a,b"},
                                 {"ATTENTION_THREADS", "3"},
                                 {"ATTENTION_MAX_MESSAGE_BYTES", "1MiB"},
                                 {"ATTENTION_MAX_MODULE_BYTES", "2GiB"},
                                 {"ATTENTION_MAX_LOADED_BYTES", "8GiB"},
                                 {"ATTENTION_MAX_QUEUE_BYTES", "4096"},
                                 {"ATTENTION_LOG_LEVEL", "debug"},
                                 {"ATTENTION_LOG_FORMAT", "json"},
                                 {"ATTENTION_LOG_SLOW", "50"},
                                 {"ATTENTION_METRICS_LISTEN", "9464"},
                                 {"ATTENTION_DRAIN_GRACE", "5"}});

  const ServerOptions options = ParseGood({});

  EXPECT_THAT(options.listen, ElementsAre("127.0.0.1:1", "unix:/s"));
  EXPECT_EQ(options.modules, "dir");
  EXPECT_THAT(options.load, ElementsAre("a", "b"));
  EXPECT_EQ(options.threads, 3U);
  EXPECT_EQ(options.max_message_bytes, 1U << 20);
  EXPECT_EQ(options.max_module_bytes, 2U << 30);
  EXPECT_EQ(options.max_loaded_bytes, std::size_t{8} << 30);
  EXPECT_EQ(options.max_queue_bytes, 4096U);
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_EQ(options.log_format, "json");
  EXPECT_EQ(options.log_slow, std::chrono::milliseconds(50));
  EXPECT_EQ(options.metrics_listen, "9464");
  EXPECT_EQ(options.drain_grace, std::chrono::seconds(5));
}

TEST(OptionsTest, PrefersFlagsToTheEnvironment) {
  const Environment environment(
      {{"ATTENTION_THREADS", "3"}, {"ATTENTION_LISTEN", "127.0.0.1:1"}});

  const ServerOptions options =
      ParseGood({"--threads", "4", "--listen", "127.0.0.1:2"});

  EXPECT_EQ(options.threads, 4U);
  EXPECT_THAT(options.listen, ElementsAre("127.0.0.1:2"));
}

TEST(OptionsTest, RefusesAnInvalidVariable) {
  const Environment environment({{"ATTENTION_THREADS", "many"}});

  const auto parsed = Parse({});

  const auto* exit = std::get_if<EarlyExit>(&parsed);
  ASSERT_NE(exit, nullptr);
  EXPECT_EQ(exit->code, kExitUsageError);
  EXPECT_THAT(exit->text, HasSubstr("ATTENTION_THREADS"));
}

class BadOptionTest
    : public ::testing::TestWithParam<std::vector<const char*>> {};

TEST_P(BadOptionTest, IsRefusedInOneLine) {
  const auto parsed = Parse(GetParam());

  const auto* exit = std::get_if<EarlyExit>(&parsed);
  ASSERT_NE(exit, nullptr);
  EXPECT_EQ(exit->code, kExitUsageError);
  EXPECT_EQ(exit->text.find('\n'), exit->text.size() - 1);
}

struct Mistake {
  std::vector<const char*> arguments;
  std::string text;
};

void PrintTo(const Mistake& mistake, std::ostream* out) {
  *out << mistake.text;
}

class MistakeTest : public ::testing::TestWithParam<Mistake> {};

TEST_P(MistakeTest, IsExplainedInPlainWords) {
  const auto parsed = Parse(GetParam().arguments);

  const auto* exit = std::get_if<EarlyExit>(&parsed);
  ASSERT_NE(exit, nullptr);
  EXPECT_EQ(exit->text,
            "attention-server: " + GetParam().text + "; see --help\n");
}

INSTANTIATE_TEST_SUITE_P(
    Table, MistakeTest,
    ::testing::Values(
        Mistake{{"--thread", "4"},
                "unknown option '--thread'; did you mean '--threads'?"},
        Mistake{{"--max-mesage-bytes=1"},
                "unknown option '--max-mesage-bytes'; did you mean "
                "'--max-message-bytes'?"},
        Mistake{{"--zzz"}, "unknown option '--zzz'"},
        Mistake{{"stray"}, "unexpected argument 'stray'"},
        Mistake{{"--modules"}, "--modules needs a value"},
        Mistake{{"--listen"}, "--listen needs a value"},
        Mistake{{"--threads", "1", "--threads", "2"},
                "--threads is given 2 times, expected once"},
        Mistake{{"--threads", "x"},
                "--threads: got 'x', expected a whole number from 1 to 1024"},
        Mistake{{"--drain-grace", "1.5"},
                "--drain-grace: got '1.5', expected a whole number from 0 to "
                "86400"},
        Mistake{{"--max-batch-tokens", "0"},
                "--max-batch-tokens: got '0', expected a whole number from 1 "
                "to 16777216"},
        Mistake{{"--max-batch-delay", "-1"},
                "--max-batch-delay: got '-1', expected a whole number from 0 "
                "to 1000000"},
        Mistake{{"--max-connections", "0"},
                "--max-connections: got '0', expected a whole number from 1 "
                "to 1000000"},
        Mistake{{"--max-message-bytes", "2GiB"},
                "--max-message-bytes: got '2GiB', expected bytes from 1 to "
                "2147483647, such as 512MiB"},
        Mistake{{"--max-queue-bytes", "1 parsec"},
                "--max-queue-bytes: got '1 parsec', expected bytes from 1 to "
                "1125899906842624, such as 512MiB"},
        Mistake{{"--max-queue-bytes", "99999999999999999999"},
                "--max-queue-bytes: got '99999999999999999999', expected bytes "
                "from 1 to 1125899906842624, such as 512MiB"},
        Mistake{{"--max-queue-bytes", "16777216TiB"},
                "--max-queue-bytes: got '16777216TiB', expected bytes from 1 "
                "to 1125899906842624, such as 512MiB"},
        Mistake{{"--log-level", "loud"},
                "--log-level: got 'loud', expected debug, info, warning, error "
                "or off"},
        Mistake{{"--log-format", "xml"},
                "--log-format: got 'xml', expected text or json"},
        Mistake{{"--log-slow", "-1"},
                "--log-slow: got '-1', expected a whole number from 0 to "
                "86400000"},
        Mistake{{"--metrics-listen", "unix:/s"},
                "--metrics-listen: 'unix:/s': expected HOST:PORT or PORT, with "
                "a port from 0 to 65535"},
        Mistake{{"--compute-path", "fast"},
                "--compute-path: got 'fast', expected auto, fused or "
                "primitives"},
        Mistake{{"--pin-threads=maybe"},
                "--pin-threads: got 'maybe', expected no value, true or "
                "false"}));

TEST(OptionsTest, MistakesInTheEnvironmentNameTheVariable) {
  const std::vector<std::pair<std::string, std::string>> variables = {
      {"ATTENTION_THREADS", "a whole number from 1 to 1024"},
      {"ATTENTION_PIN_THREADS", "no value, true or false"},
      {"ATTENTION_MAX_QUEUE_BYTES",
       "bytes from 1 to 1125899906842624, such as 512MiB"}};
  for (const auto& [name, expected] : variables) {
    const Environment environment({{name, "maybe"}});

    const auto parsed = Parse({});

    const auto* exit = std::get_if<EarlyExit>(&parsed);
    ASSERT_NE(exit, nullptr);
    EXPECT_EQ(exit->text, "attention-server: " + name +
                              ": got 'maybe', expected " + expected +
                              "; see --help\n");
  }
}

TEST(OptionsTest, TakesBytesInEveryUnit) {
  const std::vector<std::pair<const char*, std::size_t>> sizes = {
      {"7", 7},
      {"7b", 7},
      {"7K", 7U << 10},
      {"7 kB", 7U << 10},
      {"7MiB", 7U << 20},
      {"7mi", 7U << 20},
      {"7g", std::size_t{7} << 30},
      {"7 TiB", std::size_t{7} << 40}};
  for (const auto& [text, bytes] : sizes) {
    EXPECT_EQ(ParseGood({"--max-queue-bytes", text}).max_queue_bytes, bytes)
        << text;
  }
}

TEST(OptionsTest, HelpShowsPlainValues) {
  const auto parsed = Parse({"--help"});

  const auto* exit = std::get_if<EarlyExit>(&parsed);
  ASSERT_NE(exit, nullptr);
  for (const char* const internal : {"UINT", "INT ", "{}", "[[", "SIZE ["}) {
    EXPECT_THAT(exit->text, ::testing::Not(HasSubstr(internal)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadOptionTest,
    ::testing::Values(
        std::vector{"--unknown"}, std::vector{"--threads", "0"},
        std::vector{"--threads", "1025"}, std::vector{"--threads", "-1"},
        std::vector{"--listen", "nowhere"}, std::vector{"--load", "m"},
        std::vector{"--max-message-bytes", "2GiB"},
        std::vector{"--max-message-bytes", "0"},
        std::vector{"--max-queue-bytes", "1 parsec"},
        std::vector{"--max-queue-bytes", "99999999999999999999"},
        std::vector{"--max-queue-bytes", "-1"},
        std::vector{"--log-level", "loud"}, std::vector{"--log-format", "xml"},
        std::vector{"--drain-grace", "-1"}, std::vector{"stray"}));

TEST(OptionsTest, HelpsOnStdout) {
  const auto parsed = Parse({"--help"});

  const auto* exit = std::get_if<EarlyExit>(&parsed);
  ASSERT_NE(exit, nullptr);
  EXPECT_EQ(exit->code, 0);
  EXPECT_THAT(exit->text, HasSubstr("ATTENTION_MAX_QUEUE_BYTES"));
}

TEST(OptionsTest, TellsItsVersion) {
  const auto parsed = Parse({"--version"});

  const auto* exit = std::get_if<EarlyExit>(&parsed);
  ASSERT_NE(exit, nullptr);
  EXPECT_EQ(exit->code, 0);
  EXPECT_THAT(exit->text, ::testing::StartsWith("attention-server "));
  EXPECT_THAT(exit->text, HasSubstr("\nfloat32 modules: "));
  EXPECT_THAT(exit->text, HasSubstr("\nbfloat16 modules: "));
}

}  // namespace
}  // namespace attention
