// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/tensor/carver.h"
#include "core/tensor/tensor.h"

namespace attention {

/// One piece of memory for the packed weights of several layers: single ones
/// are often smaller than a huge page. It lives as long as anything taken from
/// it.
class WeightMemory {
 public:
  /// Throws std::bad_alloc.
  explicit WeightMemory(std::size_t num_bytes)
      : memory_(std::make_shared<AlignedBuffer>(num_bytes)),
        carver_(memory_->data()) {}

  /// Take `num_bytes`, uninitialised, of what is left.
  [[nodiscard]] std::shared_ptr<std::byte> Take(std::size_t num_bytes) {
    const auto count = static_cast<std::int64_t>(num_bytes);
    return {memory_, carver_.Take<std::byte>(count).data()};
  }

 private:
  std::shared_ptr<AlignedBuffer> memory_;
  Carver carver_;
};

}  // namespace attention
