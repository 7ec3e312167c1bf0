// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <unordered_set>

#include "absl/status/status.h"
#include "core/serving/admission_controller.h"
#include "server/modules/module_manager.h"
#include "server/modules/work_thread.h"
#include "server/rpc/front_door.h"

namespace attention {

class ModuleUploadReactor;

/// Make the refusal of work the loading thread has no room for.
[[nodiscard]] absl::Status TooManyLoadsError();

/// The UploadModule calls under way: each collects a file, then has it loaded
/// on the loading thread. Thread-safe.
class ModuleUploads {
 public:
  /// Uploads under way at one time.
  static constexpr std::size_t kMaxUploads = 16;

  /// What uploads work with; borrowed.
  struct Parts {
    FrontDoor& door;
    ModuleManager& manager;
    WorkThread& work_thread;
    /// Longest file, and most bytes of all uploads under way.
    std::size_t max_module_bytes;
  };

  explicit ModuleUploads(const Parts& parts)
      : parts_(parts), budget_(parts.max_module_bytes) {}
  ~ModuleUploads() = default;
  ModuleUploads(const ModuleUploads&) = delete;
  ModuleUploads& operator=(const ModuleUploads&) = delete;

  [[nodiscard]] grpc::ServerReadReactor<grpc::ByteBuffer>* Open(
      grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

  /// End the uploads that have not come whole, with UNAVAILABLE; the others are
  /// loaded. New ones are refused by the server's state.
  void Drain();

  /// End the uploads of which no message has come for at least so long, with
  /// DEADLINE_EXCEEDED.
  void EndIdle(std::chrono::milliseconds at_least);

  /// What has come of the uploads under way.
  [[nodiscard]] std::size_t num_bytes() const {
    return budget_.reserved_bytes();
  }

 private:
  friend class ModuleUploadReactor;
  void Close(ModuleUploadReactor* upload);

  const Parts parts_;
  AdmissionController budget_;
  std::atomic<std::size_t> num_uploads_{0};
  std::mutex mutex_;
  std::unordered_set<ModuleUploadReactor*> open_;  ///< guarded by mutex_
};

}  // namespace attention
