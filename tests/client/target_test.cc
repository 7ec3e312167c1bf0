// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/tensor/status_text.h"

namespace attention {
namespace {

using testing::EndsWith;

TEST(TargetTest, TakesEveryFormThatNamesAPortOrASocket) {
  for (const char* const target :
       {"localhost:50051", "127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:50051",
        "my_host.example-1.org:50051", "dns:host:50051", "dns:///host:50051",
        "dns://10.0.0.2/host:50051", "dns:///[::1]:50051",
        "ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv6:[::1]:50051",
        "unix:relative.sock", "unix:/run/attention.sock",
        "unix:///run/attention.sock", "unix-abstract:attention", "xds:///a"}) {
    EXPECT_TRUE(CheckTarget(target).ok()) << CheckTarget(target);
  }
}

TEST(TargetTest, RefusesOthersAndSpellsThemRight) {
  const std::vector<std::pair<std::string, std::string>> targets = {
      {"", "localhost:50051"},
      {"localhost", "localhost:50051"},
      {"localhost:", "localhost:50051"},
      {"localhost:http", "localhost:50051"},
      {"localhost:0", "localhost:50051"},
      {"localhost:65536", "localhost:50051"},
      {"localhost:99999999999", "localhost:50051"},
      {"localhost:-1", "localhost:50051"},
      {"localhost:50051/", "localhost:50051"},
      {"10.0.0.7", "10.0.0.7:50051"},
      {":8080", "localhost:8080"},
      {"8080", "localhost:8080"},
      {"::1", "[::1]:50051"},
      {"[::1]", "[::1]:50051"},
      {"::1:8080", "[::1:8080]:50051"},
      {"::1:50051", "[::1]:50051"},
      {"fe80::1%eth0", "[fe80::1%eth0]:50051"},
      {"[localhost]:50051", "localhost:50051"},
      {"http://10.0.0.7:8080", "10.0.0.7:8080"},
      {"http://10.0.0.7:8080/v1", "10.0.0.7:8080"},
      {"https://example.org", "example.org:50051"},
      {"grpc://[::1]:8080", "[::1]:8080"},
      {"local host:50051", "localhost:50051"},
      {"dns:///host", "dns:host:50051"},
      {"dns://host:50051", "dns:host:50051"},
      {"dns:", "dns:localhost:50051"},
      {"ipv4:10.0.0.1", "ipv4:10.0.0.1:50051"},
      {"unix:", "unix:/run/attention.sock"},
      {"unix://run/attention.sock", "unix:/run/attention.sock"},
      {"unix:" + std::string(108, 'x'), "unix:/run/attention.sock"},
      {"unix-abstract:", "unix:/run/attention.sock"}};
  for (const auto& [target, corrected] : targets) {
    const absl::Status status = CheckTarget(target);

    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << target;
    EXPECT_THAT(std::string(StatusText(status)),
                EndsWith(", such as " + corrected));
  }
}

TEST(TargetTest, KnowsWhatIsOnThisMachine) {
  for (const char* const target :
       {"localhost:50051", "LocalHost:50051", "localhost.:1", "127.0.0.1:1",
        "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "dns:localhost:1",
        "dns:///127.0.0.1:1", "ipv4:127.0.0.1:1,127.0.0.2:1", "ipv6:[::1]:1",
        "0.0.0.0:1", "[::]:1", "unix:/run/attention.sock",
        "unix-abstract:attention"}) {
    EXPECT_TRUE(IsLocalTarget(target)) << target;
  }
  for (const char* const target :
       {"example.org:1", "10.0.0.1:1", "128.0.0.1:1", "[::2]:1",
        "localhost.example.org:1", "127.example.org:1", "xds:///localhost:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1", "dns://127.0.0.1/example.org:1"}) {
    EXPECT_FALSE(IsLocalTarget(target)) << target;
  }
}

}  // namespace
}  // namespace attention
