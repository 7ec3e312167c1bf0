// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/allocation_counter.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace attention::testing {
namespace {

constinit std::atomic<std::size_t> current{0};
constinit std::atomic<std::size_t> peak{0};

// What FailNextHere and FailOneOf have been asked for.
constinit thread_local std::size_t failing_here = SIZE_MAX;
constinit std::atomic<std::size_t> failing_size{0};
constinit std::atomic<std::size_t> num_spared_still{0};

// What a block allocated without an alignment has.
constexpr std::align_val_t kDefault{__STDCPP_DEFAULT_NEW_ALIGNMENT__};

// Whether an allocation is the one to fail, after which none is.
bool Fails(std::size_t size) noexcept {
  if (size >= failing_here) {
    failing_here = SIZE_MAX;
    return true;
  }
  if (size == 0 || size != failing_size.load()) return false;
  if (num_spared_still.fetch_sub(1) > 0) return false;
  failing_size.store(0);
  return true;
}

// Allocate a block behind its size, which stands `alignment` bytes before it.
// Null when memory is exhausted.
void* Allocate(std::size_t size, std::align_val_t alignment) noexcept {
  if (Fails(size)) return nullptr;
  const auto offset = static_cast<std::size_t>(alignment);
  const std::size_t padded = (size + offset - 1) / offset * offset;
  if (padded < size || padded + offset < padded) return nullptr;
  auto* start =
      static_cast<std::byte*>(std::aligned_alloc(offset, padded + offset));
  if (start == nullptr) return nullptr;
  *reinterpret_cast<std::size_t*>(start) = size;
  const std::size_t now = current.fetch_add(size) + size;
  std::size_t highest = peak.load();
  while (now > highest && !peak.compare_exchange_weak(highest, now)) {
  }
  return start + offset;
}

void* AllocateOrThrow(std::size_t size, std::align_val_t alignment) {
  void* block = Allocate(size, alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void Free(void* block, std::align_val_t alignment) noexcept {
  if (block == nullptr) return;
  auto* start =
      static_cast<std::byte*>(block) - static_cast<std::size_t>(alignment);
  current.fetch_sub(*reinterpret_cast<std::size_t*>(start));
  std::free(start);
}

}  // namespace

std::size_t AllocationCounter::Current() { return current.load(); }
std::size_t AllocationCounter::Peak() { return peak.load(); }
void AllocationCounter::ResetPeak() { peak.store(current.load()); }

void AllocationCounter::FailNextHere(std::size_t min_bytes) {
  failing_here = min_bytes;
}

void AllocationCounter::FailOneOf(std::size_t num_bytes,
                                  std::size_t num_spared) {
  failing_size.store(0);
  num_spared_still.store(num_spared);
  failing_size.store(num_bytes);
}

}  // namespace attention::testing

// All forms are replaced, as those of a sanitizer's runtime do not call each
// other the way the standard library's do.
using attention::testing::Allocate;
using attention::testing::AllocateOrThrow;
using attention::testing::Free;
using attention::testing::kDefault;
using std::align_val_t;
using std::nothrow_t;
using std::size_t;

void* operator new(size_t size) { return AllocateOrThrow(size, kDefault); }
void* operator new[](size_t size) { return AllocateOrThrow(size, kDefault); }
void* operator new(size_t size, align_val_t alignment) {
  return AllocateOrThrow(size, alignment);
}
void* operator new[](size_t size, align_val_t alignment) {
  return AllocateOrThrow(size, alignment);
}
void* operator new(size_t size, const nothrow_t&) noexcept {
  return Allocate(size, kDefault);
}
void* operator new[](size_t size, const nothrow_t&) noexcept {
  return Allocate(size, kDefault);
}
void* operator new(size_t size, align_val_t alignment,
                   const nothrow_t&) noexcept {
  return Allocate(size, alignment);
}
void* operator new[](size_t size, align_val_t alignment,
                     const nothrow_t&) noexcept {
  return Allocate(size, alignment);
}

void operator delete(void* block) noexcept { Free(block, kDefault); }
void operator delete[](void* block) noexcept { Free(block, kDefault); }
void operator delete(void* block, size_t) noexcept { Free(block, kDefault); }
void operator delete[](void* block, size_t) noexcept { Free(block, kDefault); }
void operator delete(void* block, const nothrow_t&) noexcept {
  Free(block, kDefault);
}
void operator delete[](void* block, const nothrow_t&) noexcept {
  Free(block, kDefault);
}
void operator delete(void* block, align_val_t alignment) noexcept {
  Free(block, alignment);
}
void operator delete[](void* block, align_val_t alignment) noexcept {
  Free(block, alignment);
}
void operator delete(void* block, size_t, align_val_t alignment) noexcept {
  Free(block, alignment);
}
void operator delete[](void* block, size_t, align_val_t alignment) noexcept {
  Free(block, alignment);
}
void operator delete(void* block, align_val_t alignment,
                     const nothrow_t&) noexcept {
  Free(block, alignment);
}
void operator delete[](void* block, align_val_t alignment,
                       const nothrow_t&) noexcept {
  Free(block, alignment);
}
