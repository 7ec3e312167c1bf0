// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "core/serving/admission_controller.h"
#include "core/tensor/buffer_pool.h"
#include "server/modules/module_manager.h"
#include "server/rpc/message_watch.h"
#include "server/rpc/module_service.h"

namespace attention {

/// What of the process's memory nobody of ours accounts for: gRPC's, above all
/// of messages under way, and loads'. Thread-safe. Another server in the
/// process is nobody of ours.
class MemoryAccounts {
 public:
  /// Who accounts for memory; borrowed.
  struct Parts {
    const AdmissionController& admission;
    const BufferPool& buffers;
    const ModuleManager& manager;
    const ModuleServiceImpl& modules;
  };

  /// What the process has now is what it has at rest. \param parts have
  /// nothing.
  explicit MemoryAccounts(const Parts& parts);

  /// Read the accounts; exact only where it is more than `of_interest`.
  [[nodiscard]] MessageWatch::Memory Read(std::size_t of_interest) const;

 private:
  const Parts parts_;
  const std::size_t bytes_at_rest_;
};

}  // namespace attention
