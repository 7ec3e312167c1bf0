// SPDX-License-Identifier: Apache-2.0
#include "server/host/memory_accounts.h"

#include <malloc.h>

#include <algorithm>

#include "server/host/heap_memory.h"

namespace attention {
namespace {

std::size_t LessOrZero(std::size_t a, std::size_t b) {
  return a > b ? a - b : 0;
}

std::size_t BytesAtRest() {
  malloc_trim(/*pad=*/0);
  return ReadAnonymousBytes().value_or(0);
}

}  // namespace

MemoryAccounts::MemoryAccounts(const Parts& parts)
    : parts_(parts), bytes_at_rest_(BytesAtRest()) {}

MessageWatch::Memory MemoryAccounts::Read(std::size_t of_interest) const {
  const std::size_t filled = bytes_at_rest_ + parts_.manager.loaded_bytes() +
                             parts_.buffers.idle_bytes() +
                             parts_.modules.uploaded_bytes();
  const std::size_t reserved = parts_.admission.reserved_bytes();
  const std::optional<std::size_t> resident = ReadAnonymousBytes();
  std::size_t rest = LessOrZero(resident.value_or(0), filled);
  if (!resident || rest > of_interest) {
    // Without what is free, which the allocator takes its locks to tell.
    const std::size_t in_use = ReadHeap().in_use;
    rest = LessOrZero(resident ? std::min(*resident, in_use) : in_use, filled);
  }
  return {.reserved_or_not = rest, .unaccounted = LessOrZero(rest, reserved)};
}

}  // namespace attention
