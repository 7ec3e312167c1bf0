// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <vector>

#include "attention/v1/attention_service.grpc.pb.h"
#include "attention/v1/module_service.grpc.pb.h"
#include "client/cpp/attention_client.h"

namespace attention {

/// Answers Forward, and each request of a ForwardStream in turn, with its query
/// as the output and, when asked, uniform weights. Members are set before the
/// first call.
class FakeAttentionService final : public v1::AttentionService::Service {
 public:
  grpc::Status Forward(grpc::ServerContext* context,
                       const v1::ForwardRequest* request,
                       v1::ForwardResponse* response) override;
  grpc::Status ForwardStream(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::ForwardStreamResponse,
                               v1::ForwardStreamRequest>* stream) override;

  grpc::Status status = grpc::Status::OK;  ///< answered when not OK
  bool blocks = false;        ///< wait for `release` before answering
  bool is_unsteady = false;   ///< change the output with every answer
  bool is_malformed = false;  ///< answer with data that does not fit its shape
  std::size_t num_output_elements = 0;  ///< answer (n) float32 when not 0
  std::binary_semaphore release{0};
  std::atomic<std::uint64_t> num_requests{0};
  std::atomic<std::uint64_t> num_streams{0};

  [[nodiscard]] v1::ForwardRequest last_request();

 private:
  std::mutex mutex_;
  v1::ForwardRequest last_request_;
};

/// What came with one UploadModule call.
struct FakeUpload {
  v1::UploadModuleHeader header;
  std::vector<std::size_t> chunk_sizes;
  std::string bytes;
  bool was_completed = false;  ///< the client half-closed
};

/// Serves one module, "block", and keeps what is uploaded.
class FakeModuleService final : public v1::ModuleService::Service {
 public:
  FakeModuleService();

  grpc::Status ListModules(grpc::ServerContext* context,
                           const v1::ListModulesRequest* request,
                           v1::ListModulesResponse* response) override;
  grpc::Status GetModule(grpc::ServerContext* context,
                         const v1::GetModuleRequest* request,
                         v1::GetModuleResponse* response) override;
  grpc::Status LoadModule(grpc::ServerContext* context,
                          const v1::LoadModuleRequest* request,
                          v1::LoadModuleResponse* response) override;
  grpc::Status UploadModule(grpc::ServerContext* context,
                            grpc::ServerReader<v1::UploadModuleRequest>* reader,
                            v1::UploadModuleResponse* response) override;
  grpc::Status UnloadModule(grpc::ServerContext* context,
                            const v1::UnloadModuleRequest* request,
                            v1::UnloadModuleResponse* response) override;

  v1::ModuleInfo module;
  /// Fail with RESOURCE_EXHAUSTED once more bytes came.
  std::size_t max_upload_bytes = std::size_t{1} << 30;

  [[nodiscard]] FakeUpload last_upload();
  [[nodiscard]] v1::LoadModuleRequest last_load();

 private:
  [[nodiscard]] grpc::Status NotFoundUnlessServed(
      const std::string& name) const;

  std::mutex mutex_;
  FakeUpload last_upload_;
  v1::LoadModuleRequest last_load_;
};

/// Both fakes behind a gRPC server on a loopback port, with the standard
/// health service.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  [[nodiscard]] std::string target() const;
  /// A client inside the process.
  [[nodiscard]] AttentionClient MakeClient(const ClientOptions& options = {});
  /// Stop, and wait for every call to end.
  void Stop();
  void SetServing(const std::string& service, bool serving);

  FakeAttentionService attention;
  FakeModuleService modules;

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace attention
