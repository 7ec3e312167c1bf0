// SPDX-License-Identifier: Apache-2.0
// What a hostile client sends to ModuleService: each time a clear status, and
// the server keeps serving.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "tests/server/raw_call.h"
#include "tests/server/repository/temporary_directory.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr std::size_t kMaxModuleBytes = std::size_t{64} << 10;

class HostileModuleTest : public ::testing::Test {
 protected:
  HostileModuleTest() : server_(Options(directory_)) {
    server_.Serve("m", MakeTestModule());
  }
  ~HostileModuleTest() override { server_.ExpectServes(); }

  static ServerOptions Options(const TemporaryDirectory& directory) {
    ServerOptions options;
    options.modules = directory.path();
    options.max_module_bytes = kMaxModuleBytes;
    return options;
  }

  TemporaryDirectory directory_;
  TestServer server_;
};

class HostileMethodTest : public HostileModuleTest,
                          public ::testing::WithParamInterface<std::string> {
 protected:
  void TooLongHeaderIsRefused() {
    v1::UploadModuleRequest upload;
    *upload.mutable_header() = MakeTestModule().Header("long");
    upload.mutable_header()->set_weights_prefix(
        std::string(std::size_t{1} << 17, 'x'));

    const grpc::Status status =
        CallRaw(server_.channel(), "/attention.v1.ModuleService/UploadModule",
                upload.SerializeAsString());

    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("expected at most 65536"));
  }
};

TEST_P(HostileMethodTest, AnswersRandomBytes) {
  std::mt19937 random(/*seed=*/4);
  const std::string method = "/attention.v1.ModuleService/" + GetParam();
  for (int i = 0; i < 200; ++i) {
    std::string bytes(random() % 100, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());

    const grpc::Status status = CallRaw(server_.channel(), method, bytes);

    // Unknown fields are no error: such bytes may say nothing at all.
    ASSERT_THAT(
        status.error_code(),
        AnyOf(grpc::INVALID_ARGUMENT,
              GetParam() == "ListModules" ? grpc::OK : grpc::INVALID_ARGUMENT))
        << status.error_message();
    EXPECT_EQ(status.ok(), status.error_message().empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, HostileMethodTest,
                         ::testing::Values("ListModules", "GetModule",
                                           "LoadModule", "UploadModule",
                                           "UnloadModule"));

TEST_P(HostileMethodTest, RefusesAMessageLongerThanAnyNameOrConfig) {
  if (GetParam() == "UploadModule") return TooLongHeaderIsRefused();
  const std::string method = "/attention.v1.ModuleService/" + GetParam();
  v1::GetModuleRequest get;
  get.set_name(std::string(std::size_t{1} << 17, 'x'));

  const grpc::Status status =
      CallRaw(server_.channel(), method, get.SerializeAsString());

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("expected at most 65536"));
}

class HostileNameTest : public HostileModuleTest,
                        public ::testing::WithParamInterface<std::string> {};

TEST_P(HostileNameTest, IsInvalidEverywhere) {
  const TestModule module = MakeTestModule();
  v1::UploadModuleHeader header = module.Header(GetParam());
  header.set_persist(true);
  v1::GetModuleRequest get;
  get.set_name(GetParam());
  v1::LoadModuleRequest load;
  load.set_name(GetParam());
  v1::UnloadModuleRequest unload;
  unload.set_name(GetParam());
  grpc::ClientContext contexts[3];
  v1::GetModuleResponse got;
  v1::LoadModuleResponse loaded;
  v1::UnloadModuleResponse unloaded;

  const std::vector<grpc::Status> statuses = {
      Upload(server_.modules(), header, module.file),
      server_.modules().GetModule(&contexts[0], get, &got),
      server_.modules().LoadModule(&contexts[1], load, &loaded),
      server_.modules().UnloadModule(&contexts[2], unload, &unloaded)};

  for (const grpc::Status& status : statuses) {
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT)
        << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("name"));
    EXPECT_LT(status.error_message().size(), 400U);
  }
  EXPECT_TRUE(directory_.Names().empty());
}

INSTANTIATE_TEST_SUITE_P(Names, HostileNameTest,
                         ::testing::Values("", ".", "..", "../x", "a/b",
                                           std::string("a\0b", 3), "a\nb",
                                           std::string(10'240, 'a')));

TEST_F(HostileModuleTest, RefusesAnUploadBeyondTheLimit) {
  const grpc::Status status =
      Upload(server_.modules(), MakeTestModule().Header("big"),
             std::string(kMaxModuleBytes + 1, '\0'));

  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("65536 bytes"));
}

TEST_F(HostileModuleTest, RefusesUploadsThatExceedTheLimitTogether) {
  const TestModule module = MakeTestModule();
  v1::UploadModuleRequest header;
  *header.mutable_header() = module.Header("first");
  v1::UploadModuleRequest data;
  data.set_data(std::string(kMaxModuleBytes, '\0'));
  grpc::ClientContext context;
  v1::UploadModuleResponse response;
  const auto first = server_.modules().UploadModule(&context, &response);
  ASSERT_TRUE(first->Write(header));
  ASSERT_TRUE(first->Write(data));

  // Whose bytes come first is open; the other is refused.
  data.set_data("");
  grpc::Status second = grpc::Status::OK;
  while (second.ok() && first->Write(data)) {
    v1::UploadModuleHeader other = module.Header("second");
    other.set_replace(true);
    second = Upload(server_.modules(), other, module.file);
  }
  const bool first_is_refused = second.ok();
  if (!first_is_refused) context.TryCancel();
  const grpc::Status refused = first_is_refused ? first->Finish() : second;

  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED)
      << refused.error_message();
  if (!first_is_refused) static_cast<void>(first->Finish());
}

TEST(StalledUploadTest, EndsWhenNoMessageComes) {
  TestServer server({}, {.upload_idle = std::chrono::milliseconds(1)});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::minutes(1));
  v1::UploadModuleResponse response;
  const auto upload = server.modules().UploadModule(&context, &response);

  const grpc::Status status = upload->Finish();

  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(),
              HasSubstr("no message of the upload came"));
}

TEST_F(HostileModuleTest, ForgetsAnUploadThatStopsHalfWay) {
  const TestModule module = MakeTestModule();
  v1::UploadModuleHeader half = module.Header("half");
  half.set_persist(true);
  v1::UploadModuleRequest message;
  *message.mutable_header() = half;
  {
    grpc::ClientContext context;
    v1::UploadModuleResponse response;
    const auto upload = server_.modules().UploadModule(&context, &response);
    ASSERT_TRUE(upload->Write(message));
    message.set_data(module.file.substr(0, module.file.size() / 2));
    ASSERT_TRUE(upload->Write(message));
    context.TryCancel();
    EXPECT_EQ(upload->Finish().error_code(), grpc::CANCELLED);
  }

  v1::GetModuleRequest get;
  get.set_name("half");
  grpc::ClientContext context;
  v1::GetModuleResponse got;
  EXPECT_EQ(server_.modules().GetModule(&context, get, &got).error_code(),
            grpc::NOT_FOUND);
  EXPECT_TRUE(directory_.Names().empty());
}

TEST_F(HostileModuleTest, RefusesAFileThatEndsHalfWay) {
  const TestModule module = MakeTestModule();
  v1::UploadModuleHeader header = module.Header("half");
  header.set_persist(true);

  const grpc::Status status = Upload(
      server_.modules(), header, module.file.substr(0, module.file.size() / 2));

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("module 'half': "));
  EXPECT_TRUE(directory_.Names().empty());
}

TEST_F(HostileModuleTest, RefusesUploadsOutOfOrder) {
  v1::UploadModuleRequest data;
  data.set_data("x");
  v1::UploadModuleRequest header;
  *header.mutable_header() = MakeTestModule().Header("x");
  const std::string method = "/attention.v1.ModuleService/UploadModule";
  const std::vector<std::vector<std::string>> uploads = {
      {},
      {""},
      {data.SerializeAsString()},
      {header.SerializeAsString(), header.SerializeAsString()},
      {header.SerializeAsString(), ""}};

  for (const std::vector<std::string>& messages : uploads) {
    const grpc::Status status =
        StreamRaw(server_.channel(), method, messages).status;

    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT)
        << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("expected"));
  }
}

}  // namespace
}  // namespace attention::testing
