// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/buffer_pool.h"

#include <iterator>
#include <map>
#include <mutex>
#include <new>

namespace attention {

// What nobody uses, by size; of one size those that came back last first, so
// that those that are not needed grow old.
struct BufferPool::Idle {
  struct Entry {
    AlignedBuffer memory;
    std::uint64_t period = 0;  // in which it came back
  };
  using Entries = std::multimap<std::size_t, Entry>;

  explicit Idle(std::size_t most) : max_bytes(most) {}

  // Take over `memory` unless there is no room for it.
  void Keep(AlignedBuffer& memory) {
    const std::lock_guard lock(mutex);
    if (memory.size() > max_bytes - num_bytes) return;
    const auto place =
        entries.emplace_hint(entries.lower_bound(memory.size()), memory.size(),
                             Entry{AlignedBuffer(), period});
    num_bytes += memory.size();
    place->second.memory = std::move(memory);
  }

  const std::size_t max_bytes;
  std::mutex mutex;  // guards all below
  Entries entries;
  std::size_t num_bytes = 0;  // at most max_bytes
  std::uint64_t period = 0;
};

BufferPool::BufferPool(std::size_t max_idle_bytes)
    : idle_(std::make_shared<Idle>(max_idle_bytes)) {}

BufferPool::Buffer BufferPool::Take(std::size_t num_bytes) {
  if (num_bytes < kSmallestKept) return {AlignedBuffer(num_bytes), nullptr};
  {
    const std::lock_guard lock(idle_->mutex);
    const auto found = idle_->entries.lower_bound(num_bytes);
    if (found != idle_->entries.end() &&
        found->first - num_bytes <= num_bytes / 8) {
      Buffer buffer(std::move(found->second.memory), idle_);
      idle_->num_bytes -= buffer.size();
      idle_->entries.erase(found);
      return buffer;
    }
  }
  return {AlignedBuffer(num_bytes), idle_};
}

std::size_t BufferPool::Trim() {
  Idle::Entries freed;  // outside the lock
  const std::lock_guard lock(idle_->mutex);
  std::size_t num_bytes = 0;
  for (auto entry = idle_->entries.begin(); entry != idle_->entries.end();) {
    const auto next = std::next(entry);
    if (entry->second.period != idle_->period) {
      num_bytes += entry->first;
      freed.insert(idle_->entries.extract(entry));
    }
    entry = next;
  }
  idle_->num_bytes -= num_bytes;
  ++idle_->period;
  return num_bytes;
}

std::size_t BufferPool::idle_bytes() const {
  const std::lock_guard lock(idle_->mutex);
  return idle_->num_bytes;
}

BufferPool::Buffer& BufferPool::Buffer::operator=(Buffer&& other) noexcept {
  if (this == &other) return *this;
  GiveBack();
  memory_ = std::move(other.memory_);
  pool_ = std::move(other.pool_);
  return *this;
}

void BufferPool::Buffer::GiveBack() {
  if (pool_ == nullptr) return;
  try {
    pool_->Keep(memory_);
  } catch (const std::bad_alloc&) {  // no room even for its entry: freed
  }
  pool_.reset();
  memory_ = AlignedBuffer();
}

}  // namespace attention
