// SPDX-License-Identifier: Apache-2.0
#include "core/parallel/compute_pool.h"

#include <immintrin.h>

#include <cassert>
#include <cstring>

#include "core/tensor/round_up.h"

namespace attention {
namespace {

// Rounds a thread looks for news before it sleeps: 20 to 50 us, as the steps of
// a request follow one another within a few, and waking takes longer.
constexpr int kSpins = 1000;

// Call `done` until it returns true, a little while at most; return whether it
// did.
template <typename Done>
bool SpinUntil(const Done& done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  return false;
}

// Have the system provide the pages.
void Touch(AlignedBuffer& buffer) {
  if (buffer.size() > 0) std::memset(buffer.data(), 0, buffer.size());
}

}  // namespace

ComputePool::ComputePool(std::size_t num_threads, Pinning pinning,
                         const ScratchReserve& reserve)
    : pinning_(pinning),
      sleepers_(num_threads),
      scratch_(num_threads),
      lease_memory_(reserve.lease_bytes) {
  assert(num_threads >= 1);
  for (ThreadScratch& scratch : scratch_) {
    scratch.reserved = AlignedBuffer(reserve.thread_bytes);
  }
  Touch(lease_memory_);
  Touch(scratch_.front().reserved);
  workers_.reserve(num_threads - 1);
  try {
    for (std::size_t thread = 1; thread < num_threads; ++thread) {
      workers_.emplace_back([this, thread] {
        if (pinning_ == Pinning::kPinned) PinThisThread(thread);
        Touch(scratch_[thread].reserved);
        WorkerLoop(thread);
      });
    }
  } catch (...) {
    StopWorkers();
    throw;
  }
}

ComputePool::~ComputePool() { StopWorkers(); }

void ComputePool::StopWorkers() {
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
    KeepSleepersOff(sched_getcpu());
    generation_.fetch_add(1);
    generation_.notify_all();
  }
  WorkThrough(/*thread=*/0);
  SpinUntil([&] { return num_unfinished_.load() == 0; });
  for (std::int64_t left = num_unfinished_.load(); left > 0;
       left = num_unfinished_.load()) {
    num_unfinished_.wait(left);
  }
  for (ThreadScratch& scratch : scratch_) {
    if (scratch.larger.size() > 0) scratch.larger = AlignedBuffer();
  }
}

std::byte* ComputePool::Scratch(std::size_t thread, std::size_t num_bytes) {
  ThreadScratch& scratch = scratch_[thread];
  if (num_bytes <= scratch.reserved.size()) return scratch.reserved.data();
  if (scratch.larger.size() < num_bytes) {
    scratch.larger = AlignedBuffer();  // so that both never coexist
    scratch.larger = AlignedBuffer(num_bytes);
  }
  return scratch.larger.data();
}

ComputePool::Lease::Lease(ComputePool& pool, std::size_t num_bytes)
    : pool_(pool), num_leased_before_(pool.num_leased_) {
  const std::size_t free = pool.lease_memory_.size() - pool.num_leased_;
  if (num_bytes <= free && RoundUp(num_bytes, kTensorAlignment) <= free) {
    data_ = pool.lease_memory_.data() + pool.num_leased_;
    pool.num_leased_ += RoundUp(num_bytes, kTensorAlignment);
  } else {
    own_ = AlignedBuffer(num_bytes);
    data_ = own_.data();
  }
}

void ComputePool::WorkerLoop(std::size_t thread) {
  std::uint32_t seen = 0;
  while (!stopping_.load()) {
    WorkThrough(thread);
    if (!SpinUntil([&] { return generation_.load() != seen; })) {
      Sleep(thread, seen);
    }
    seen = generation_.load();
  }
}

void ComputePool::Sleep(std::size_t thread, std::uint32_t seen) {
  if (pinning_ == Pinning::kPinned) return generation_.wait(seen);
  sleepers_[thread].FallAsleep(callers_cpu_.load());
  generation_.wait(seen);
  sleepers_[thread].WakeUp();
}

void ComputePool::KeepSleepersOff(int cpu) {
  if (pinning_ == Pinning::kPinned || cpu == callers_cpu_.load()) return;
  callers_cpu_.store(cpu);  // for those who fall asleep later
  for (SleepAffinity& sleeper : sleepers_) sleeper.KeepOff(cpu);
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
