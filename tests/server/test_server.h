// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "attention/v1/attention_service.grpc.pb.h"
#include "attention/v1/module_service.grpc.pb.h"
#include "server/host/server.h"
#include "tests/server/test_module.h"

namespace attention::testing {

/// A channel of its own connection to an address, without message limits.
[[nodiscard]] std::shared_ptr<grpc::Channel> Connect(
    const std::string& address);

/// Call UploadModule, sending the file in chunks.
[[nodiscard]] grpc::Status Upload(v1::ModuleService::Stub& stub,
                                  const v1::UploadModuleHeader& header,
                                  const std::string& file,
                                  v1::ModuleInfo* info = nullptr);

/// A server of the process on a free loopback port, and a client of it.
class TestServer {
 public:
  explicit TestServer(ServerOptions options = {},
                      const ServerTimeouts& timeouts = {});

  [[nodiscard]] Server& server() { return server_; }
  [[nodiscard]] const std::string& address() const {
    return server_.addresses().front();
  }
  [[nodiscard]] const std::shared_ptr<grpc::Channel>& channel() const {
    return channel_;
  }
  [[nodiscard]] v1::AttentionService::Stub& attention() { return *attention_; }
  [[nodiscard]] v1::ModuleService::Stub& modules() { return *modules_; }

  /// Serve a small module; fails the test if it cannot.
  void Serve(const std::string& name, const TestModule& module);

  grpc::Status Forward(const v1::ForwardRequest& request,
                       v1::ForwardResponse* response = nullptr);

  /// Fail the test unless a request for a module served as "m" is answered.
  void ExpectServes();

 private:
  Server server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AttentionService::Stub> attention_;
  std::unique_ptr<v1::ModuleService::Stub> modules_;
};

}  // namespace attention::testing
