// SPDX-License-Identifier: Apache-2.0
#include "core/parallel/compute_pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cassert>
#include <cfenv>
#include <climits>
#include <cstring>
#include <utility>

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

// What std::atomic's wait and notify_all come to, but for the times that wait
// yields the CPU first: others' turns are long where they are wanted.
void SleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t value) {
  static_assert(sizeof(word) == sizeof(std::uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void WakeAll(const std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
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

std::size_t ComputePool::reserved_bytes() const {
  std::size_t num_bytes = lease_memory_.size();
  for (const ThreadScratch& scratch : scratch_) {
    num_bytes += scratch.reserved.size();
  }
  return num_bytes;
}

void ComputePool::StopWorkers() {
  stopping_.store(true);
  Announce();
  workers_.clear();  // joins
}

void ComputePool::Run(std::int64_t num_items,
                      absl::FunctionRef<void(std::int64_t, std::size_t)> work) {
  for (std::int64_t num_left = num_items; num_left > 0;) {
    work_ = &work;
    num_items_ = num_items;
    Publish(num_left);
    const bool is_due = WorkThrough(/*thread=*/0, interlude_);
    num_left = Withdraw();
    if (is_due) PlayInterlude();
  }
  if (in_interlude_) return;  // the call it interrupts goes on
  for (ThreadScratch& scratch : scratch_) {
    if (scratch.larger.size() > 0) scratch.larger = AlignedBuffer();
  }
}

// Let the last `num_left` items be claimed.
void ComputePool::Publish(std::int64_t num_left) {
  num_unfinished_.store(num_left);
  num_unclaimed_.store(num_left);  // publishes the fields of the call
  if (!workers_.empty() && num_left > 1) {
    KeepSleepersOff(sched_getcpu());
    Announce();
  }
}

// Have idle workers look for what is new. Whoever is about to sleep either is
// counted here or finds the generation changed.
void ComputePool::Announce() {
  generation_.fetch_add(1);
  if (num_asleep_.load() > 0) WakeAll(generation_);
}

// Wait for the items that are claimed. \return how many are not.
std::int64_t ComputePool::Withdraw() {
  const std::int64_t num_left = num_unclaimed_.exchange(0);
  num_unfinished_.fetch_sub(num_left);
  SpinUntil([&] { return num_unfinished_.load() == 0; });
  for (std::int64_t unfinished = num_unfinished_.load(); unfinished > 0;
       unfinished = num_unfinished_.load()) {
    num_unfinished_.wait(unfinished);
  }
  return num_left;
}

void ComputePool::PlayInterlude() {
  Interlude* const interlude = std::exchange(interlude_, nullptr);
  std::fenv_t environment;  // denormals as the call wants them
  std::fegetenv(&environment);
  std::fesetenv(FE_DFL_ENV);
  in_interlude_ = true;
  interlude->Play();
  in_interlude_ = false;
  std::fesetenv(&environment);
  interlude_ = interlude;
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
  const bool moves = pinning_ != Pinning::kPinned;
  if (moves) sleepers_[thread].FallAsleep(callers_cpu_.load());
  num_asleep_.fetch_add(1);
  SleepWhile(generation_, seen);
  num_asleep_.fetch_sub(1);
  if (moves) sleepers_[thread].WakeUp();
}

void ComputePool::KeepSleepersOff(int cpu) {
  if (pinning_ == Pinning::kPinned || cpu == callers_cpu_.load()) return;
  callers_cpu_.store(cpu);  // for those who fall asleep later
  for (SleepAffinity& sleeper : sleepers_) sleeper.KeepOff(cpu);
}

bool ComputePool::WorkThrough(std::size_t thread, Interlude* interlude) {
  std::int64_t unclaimed = num_unclaimed_.load();
  while (unclaimed > 0) {
    if (!num_unclaimed_.compare_exchange_weak(unclaimed, unclaimed - 1)) {
      continue;
    }
    (*work_)(num_items_ - unclaimed, thread);
    if (num_unfinished_.fetch_sub(1) == 1) num_unfinished_.notify_all();
    if (interlude != nullptr && interlude->IsDue()) return true;
    unclaimed = num_unclaimed_.load();
  }
  return false;
}

}  // namespace attention
