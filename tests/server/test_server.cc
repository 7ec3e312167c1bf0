// SPDX-License-Identifier: Apache-2.0
#include "tests/server/test_server.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace attention::testing {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

ServerOptions OnAFreePort(ServerOptions options) {
  options.listen = {"127.0.0.1:0"};
  options.threads = 2;
  return options;
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

grpc::Status Upload(v1::ModuleService::Stub& stub,
                    const v1::UploadModuleHeader& header,
                    const std::string& file, v1::ModuleInfo* info) {
  grpc::ClientContext context;
  v1::UploadModuleResponse response;
  const auto writer = stub.UploadModule(&context, &response);
  v1::UploadModuleRequest message;
  *message.mutable_header() = header;
  bool open = writer->Write(message);
  for (std::size_t at = 0; open && at < file.size(); at += kChunkBytes) {
    message.set_data(file.substr(at, kChunkBytes));
    open = writer->Write(message);
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (info != nullptr) *info = response.module();
  return status;
}

TestServer::TestServer(ServerOptions options, const ServerTimeouts& timeouts)
    : server_(OnAFreePort(std::move(options)), timeouts) {
  const absl::Status started = server_.Start();
  EXPECT_TRUE(started.ok()) << started;
  if (!started.ok()) return;
  channel_ = Connect(address());
  attention_ = v1::AttentionService::NewStub(channel_);
  modules_ = v1::ModuleService::NewStub(channel_);
}

void TestServer::Serve(const std::string& name, const TestModule& module) {
  const grpc::Status status =
      Upload(*modules_, module.Header(name), module.file);
  ASSERT_TRUE(status.ok()) << status.error_message();
}

grpc::Status TestServer::Forward(const v1::ForwardRequest& request,
                                 v1::ForwardResponse* response) {
  grpc::ClientContext context;
  v1::ForwardResponse unused;
  return attention_->Forward(&context, request,
                             response == nullptr ? &unused : response);
}

void TestServer::ExpectServes() {
  const grpc::Status status = Forward(MakeRequest("m"));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

}  // namespace attention::testing
