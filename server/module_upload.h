// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "attention/v1/module_service.pb.h"
#include "server/call_tracker.h"
#include "server/module_manager.h"
#include "server/upload_buffer.h"
#include "server/work_thread.h"

namespace attention {

/// Make the refusal of work the loading thread has no room for.
[[nodiscard]] absl::Status TooManyLoadsError();

/// One UploadModule call: collects the file, then has it loaded on the loading
/// thread. Deletes itself when gRPC is done with the call.
class ModuleUploadReactor final
    : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  /// What uploads share; borrowed.
  struct Parts {
    ModuleManager& manager;
    CallTracker& calls;
    AdmissionController& budget;
    std::size_t max_module_bytes;
    std::atomic<std::size_t>& num_uploads;
    std::size_t max_uploads;
    WorkThread& work_thread;
  };

  ModuleUploadReactor(grpc::CallbackServerContext* context,
                      grpc::ByteBuffer* response, const Parts& parts);

  /// Begin reading, unless `serving` refuses. Call once.
  void Start(const absl::Status& serving);

 private:
  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

  [[nodiscard]] absl::Status Take(const v1::UploadModuleRequest& message);
  [[nodiscard]] absl::Status TakeHeader(const v1::UploadModuleHeader& header);
  void Load();
  void Complete(const absl::Status& status);

  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const Parts parts_;
  const CallTracker::Token token_;
  grpc::ByteBuffer incoming_;
  v1::UploadModuleHeader header_;
  std::optional<UploadBuffer> file_;  ///< once there is a header
};

}  // namespace attention
