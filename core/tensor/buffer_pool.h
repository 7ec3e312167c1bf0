// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/tensor/tensor.h"

namespace attention {

/// Memory that is used again: the first touch of a page costs more than copying
/// into one that was touched before. Thread-safe.
class BufferPool {
  struct Idle;

 public:
  /// Smaller ones come from the system each time, which has them at hand.
  static constexpr std::size_t kSmallestKept = std::size_t{64} << 10U;

  /// Uninitialised memory, aligned to kTensorAlignment; goes back to the pool
  /// when destroyed, which it may outlive. Move-only. Not thread-safe.
  class Buffer {
   public:
    Buffer() = default;
    Buffer(Buffer&&) noexcept = default;
    Buffer& operator=(Buffer&& other) noexcept;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { GiveBack(); }

    [[nodiscard]] std::byte* data() { return memory_.data(); }
    [[nodiscard]] const std::byte* data() const { return memory_.data(); }
    /// At least as asked for, and at most an eighth more.
    [[nodiscard]] std::size_t size() const { return memory_.size(); }

   private:
    friend class BufferPool;
    Buffer(AlignedBuffer memory, std::shared_ptr<Idle> pool)
        : memory_(std::move(memory)), pool_(std::move(pool)) {}
    void GiveBack();

    AlignedBuffer memory_;
    std::shared_ptr<Idle> pool_;  // null: not kept
  };

  /// The most that a buffer of at least so many bytes has.
  [[nodiscard]] static constexpr std::size_t MostBytes(std::size_t num_bytes) {
    return num_bytes + num_bytes / 8;
  }

  /// \param max_idle_bytes most it keeps for later; the rest is freed at once.
  explicit BufferPool(std::size_t max_idle_bytes);
  ~BufferPool() = default;
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// Throws std::bad_alloc.
  [[nodiscard]] Buffer Take(std::size_t num_bytes);

  /// Free what has been idle since the call before; to be called every second
  /// or so. \return the bytes freed.
  std::size_t Trim();

  [[nodiscard]] std::size_t idle_bytes() const;

 private:
  std::shared_ptr<Idle> idle_;
};

}  // namespace attention
