// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_address.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace attention {
namespace {

TEST(MetricsAddressTest, IsOnLoopbackUnlessAHostIsGiven) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"9464", "127.0.0.1:9464"},   {":9464", "127.0.0.1:9464"},
      {"0", "127.0.0.1:0"},         {"0.0.0.0:9464", "0.0.0.0:9464"},
      {"[::1]:9464", "[::1]:9464"}, {"localhost:1", "localhost:1"}};
  for (const auto& [text, address] : cases) {
    EXPECT_EQ(MetricsAddress(text).value_or("none"), address) << text;
  }
}

TEST(MetricsAddressTest, RefusesWhatIsNone) {
  for (const std::string text :
       {"", ":", "host", "host:", "65536", ":-1", "1x", "unix:/s",
        "99999999999999999999", "http://host/metrics"}) {
    const auto address = MetricsAddress(text);

    EXPECT_EQ(
        address.status(),
        absl::InvalidArgumentError(
            "'" + text +
            "': expected HOST:PORT or PORT, with a port from 0 to 65535"));
  }
}

}  // namespace
}  // namespace attention
