// SPDX-License-Identifier: Apache-2.0
#include "core/attention/compute_pool.h"

#include <immintrin.h>

#include <cassert>

namespace attention {
namespace {

// Rounds a thread looks for news before it sleeps: some 20 us, as the passes of
// a request follow one another within a few, and waking takes longer.
constexpr int kSpins = 1000;

// Call `done` until it returns true, a little while at most.
template <typename Done>
void SpinUntil(const Done& done) {
  for (int i = 0; i < kSpins && !done(); ++i) _mm_pause();
}

}  // namespace

ComputePool::ComputePool(std::size_t num_threads, Pinning pinning)
    : scratch_(num_threads + 2) {
  assert(num_threads >= 1);
  workers_.reserve(num_threads - 1);
  for (std::size_t thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread, pinning] {
      if (pinning == Pinning::kPinned) PinThisThread(thread);
      WorkerLoop(thread);
    });
  }
}

ComputePool::~ComputePool() {
  stopping_.store(true);
  generation_.fetch_add(1);
  generation_.notify_all();
  workers_.clear();  // joins
}

void ComputePool::Run(std::int64_t num_items,
                      absl::FunctionRef<void(std::int64_t, std::size_t)> work) {
  if (num_items <= 0) return;
  work_ = &work;
  num_items_ = num_items;
  num_unfinished_.store(num_items);
  num_unclaimed_.store(num_items);  // publishes the fields above
  if (!workers_.empty() && num_items > 1) {
    generation_.fetch_add(1);
    generation_.notify_all();
  }
  WorkThrough(/*thread=*/0);
  SpinUntil([&] { return num_unfinished_.load() == 0; });
  for (std::int64_t left = num_unfinished_.load(); left > 0;
       left = num_unfinished_.load()) {
    num_unfinished_.wait(left);
  }
}

std::byte* ComputePool::Scratch(std::size_t slot, std::size_t num_bytes) {
  AlignedBuffer& buffer = scratch_[slot];
  if (buffer.size() < num_bytes) {
    buffer = AlignedBuffer();  // before allocating, so that both never coexist
    buffer = AlignedBuffer(num_bytes);
  }
  return buffer.data();
}

void ComputePool::TrimScratch() {
  std::size_t kept = 0;
  for (const AlignedBuffer& buffer : scratch_) kept += buffer.size();
  if (kept <= kMaxKeptScratch) return;
  for (AlignedBuffer& buffer : scratch_) buffer = AlignedBuffer();
}

void ComputePool::WorkerLoop(std::size_t thread) {
  std::uint32_t seen = 0;
  while (!stopping_.load()) {
    WorkThrough(thread);
    SpinUntil([&] { return generation_.load() != seen; });
    generation_.wait(seen);
    seen = generation_.load();
  }
}

void ComputePool::WorkThrough(std::size_t thread) {
  std::int64_t unclaimed = num_unclaimed_.load();
  while (unclaimed > 0) {
    if (!num_unclaimed_.compare_exchange_weak(unclaimed, unclaimed - 1)) {
      continue;
    }
    (*work_)(num_items_ - unclaimed, thread);
    if (num_unfinished_.fetch_sub(1) == 1) num_unfinished_.notify_all();
    unclaimed = num_unclaimed_.load();
  }
}

}  // namespace attention
