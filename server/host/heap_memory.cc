// SPDX-License-Identifier: Apache-2.0
#include "server/host/heap_memory.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace attention {

HeapBytes ReadHeap() {
  const struct mallinfo2 info = mallinfo2();
  return {.in_use = info.uordblks + info.hblkhd, .free = info.fordblks};
}

// proc(5): size, resident and shared, in pages.
std::size_t ReadAnonymousBytes() {
  std::size_t size = 0;
  std::size_t resident = 0;
  std::size_t shared = 0;
  if (!(std::ifstream("/proc/self/statm") >> size >> resident >> shared)) {
    return 0;
  }
  return (resident - std::min(resident, shared)) *
         static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

bool TrimRule::Look(std::size_t free_bytes) {
  if (!least_) {
    least_ = free_bytes;
    before_.fill(free_bytes);
  }
  least_ = std::min(*least_, free_bytes);
  const std::size_t settled =
      std::min({before_.front(), before_.back(), free_bytes});
  before_ = {free_bytes, before_.front()};
  if (settled - *least_ < kWorthwhileBytes) return false;
  least_ = free_bytes;
  return true;
}

}  // namespace attention
