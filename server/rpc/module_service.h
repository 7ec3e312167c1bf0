// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <cstddef>

#include "attention/v1/module_service.grpc.pb.h"
#include "server/modules/module_manager.h"
#include "server/modules/work_thread.h"
#include "server/rpc/front_door.h"
#include "server/rpc/module_upload.h"

namespace attention {

/// ModuleService over raw messages, so that a malformed one gets our
/// INVALID_ARGUMENT. Loading runs on a thread of its own. Thread-safe.
class ModuleServiceImpl final
    : public v1::ModuleService::WithRawCallbackMethod_ListModules<
          v1::ModuleService::WithRawCallbackMethod_GetModule<
              v1::ModuleService::WithRawCallbackMethod_LoadModule<
                  v1::ModuleService::WithRawCallbackMethod_UploadModule<
                      v1::ModuleService::WithRawCallbackMethod_UnloadModule<
                          v1::ModuleService::Service>>>>> {
 public:
  /// What the service works with; borrowed.
  struct Parts {
    FrontDoor& door;
    ModuleManager& manager;
    /// Longest file, and most bytes of all uploads under way.
    std::size_t max_module_bytes;
  };

  explicit ModuleServiceImpl(const Parts& parts);

  /// End the uploads that have not come whole; the others are loaded.
  void Drain() { uploads_.Drain(); }

  /// End the uploads of which no message has come for at least so long.
  void EndIdleUploads(std::chrono::milliseconds at_least) {
    uploads_.EndIdle(at_least);
  }

  /// What has come of the uploads under way.
  [[nodiscard]] std::size_t uploaded_bytes() const {
    return uploads_.num_bytes();
  }

  grpc::ServerUnaryReactor* ListModules(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModule(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* LoadModule(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* UploadModule(
      grpc::CallbackServerContext* context,
      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* UnloadModule(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  const Parts parts_;
  ModuleUploads uploads_;
  WorkThread work_thread_;  ///< last: uses the rest
};

}  // namespace attention
