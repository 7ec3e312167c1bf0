// SPDX-License-Identifier: Apache-2.0
#include "server/host/heap_memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Of <sanitizer/allocator_interface.h>, which GCC does not install.
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace attention {

HeapBytes ReadHeap() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // Theirs is the allocator, of which mallinfo2 knows nothing.
  return {.in_use = __sanitizer_get_current_allocated_bytes()};
#else
  const struct mallinfo2 info = mallinfo2();
  return {.in_use = info.uordblks + info.hblkhd, .free = info.fordblks};
#endif
}

// proc(5): size, resident and shared, in pages. Needs neither memory nor a new
// descriptor.
std::optional<std::size_t> ReadAnonymousBytes() {
  static const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  std::array<char, 256> text{};
  const ssize_t size = pread(file, text.data(), text.size(), /*offset=*/0);
  if (size <= 0) return std::nullopt;
  const char* position = text.data();
  const char* const end = text.data() + size;
  std::array<std::size_t, 3> pages{};
  for (std::size_t& number : pages) {
    const auto [next, error] = std::from_chars(position, end, number);
    if (error != std::errc() || next == end) return std::nullopt;
    position = next + 1;
  }
  const std::size_t resident = pages[1];
  const std::size_t shared = pages[2];
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
  before_.fill(free_bytes);
  return true;
}

}  // namespace attention
