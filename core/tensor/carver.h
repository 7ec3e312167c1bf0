// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/tensor/round_up.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Carves arrays out of one piece of memory, each aligned to kTensorAlignment.
/// Without memory it only counts, so that one function says both what is needed
/// and where it lies.
class Carver {
 public:
  explicit Carver(std::byte* memory = nullptr) : memory_(memory) {}

  /// Take `count` elements, uninitialised; empty when only counting.
  template <typename T>
  [[nodiscard]] std::span<T> Take(std::int64_t count) {
    const std::size_t at = used_;
    const auto size = static_cast<std::size_t>(count);
    used_ += RoundUp(size * sizeof(T), kTensorAlignment);
    if (memory_ == nullptr) return {};
    return {reinterpret_cast<T*>(memory_ + at), size};
  }
  /// Bytes taken.
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

}  // namespace attention
