// SPDX-License-Identifier: Apache-2.0
#include "server/net/listen_address.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/server/repository/temporary_directory.h"

namespace attention {
namespace {

class GoodAddressTest : public ::testing::TestWithParam<std::string> {};
TEST_P(GoodAddressTest, IsAccepted) {
  EXPECT_TRUE(ValidateListenAddress(GetParam()).ok());
}
INSTANTIATE_TEST_SUITE_P(Table, GoodAddressTest,
                         ::testing::Values("127.0.0.1:0", "localhost:50051",
                                           "[::1]:65535", "0.0.0.0:1",
                                           "unix:/run/socket", "unix:socket"));

class BadAddressTest : public ::testing::TestWithParam<std::string> {};
TEST_P(BadAddressTest, IsRefused) {
  EXPECT_EQ(ValidateListenAddress(GetParam()).code(),
            absl::StatusCode::kInvalidArgument);
}
INSTANTIATE_TEST_SUITE_P(
    Table, BadAddressTest,
    ::testing::Values("", "localhost", ":1", "host:", "host:-1", "host:65536",
                      "host:1x", "unix:", "unix:" + std::string(200, 'a')));

TEST(ListenAddressTest, TakesTheChosenPort) {
  EXPECT_EQ(WithPort("127.0.0.1:0", 1234), "127.0.0.1:1234");
  EXPECT_EQ(WithPort("[::1]:0", 1234), "[::1]:1234");
  EXPECT_EQ(WithPort("unix:/socket", 1), "unix:/socket");
}

TEST(ClearStaleSocketTest, LeavesOtherFilesAlone) {
  const TemporaryDirectory directory;
  directory.Write("file", "precious");

  EXPECT_FALSE(ClearStaleSocket(directory.path() / "file").ok());

  EXPECT_EQ(directory.Read("file"), "precious");
}

TEST(ClearStaleSocketTest, NeedsNoFile) {
  const TemporaryDirectory directory;

  EXPECT_TRUE(ClearStaleSocket(directory.path() / "socket").ok());
}

}  // namespace
}  // namespace attention
