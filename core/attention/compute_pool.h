// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/attention/pin_thread.h"
#include "core/tensor/tensor.h"

namespace attention {

/// A small team of threads that works through numbered items, and the scratch
/// memory it works in.
///
/// The calling thread works too, so a pool of one thread starts none. Items are
/// claimed one by one from an atomic counter; idle workers look out for the
/// next call for some 20 us, then sleep on a futex (std::atomic::wait), and a
/// worker that wakes late is never waited for. Not thread-safe: one caller at a
/// time.
class ComputePool {
 public:
  /// \param num_threads at least 1, the caller included.
  /// \param pinning of the threads it starts: thread t to CPU t of those
  ///   allowed. The caller, thread 0, pins itself.
  explicit ComputePool(std::size_t num_threads,
                       Pinning pinning = Pinning::kNone);
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  [[nodiscard]] std::size_t num_threads() const { return workers_.size() + 1; }

  /// Call `work(item, thread)` once for every item in [0, num_items), with
  /// thread in [0, num_threads()) naming the thread it runs on; return when all
  /// calls have returned. `work` must not throw.
  void Run(std::int64_t num_items,
           absl::FunctionRef<void(std::int64_t, std::size_t)> work);

  /// Ask whoever computes on the pool to end early once `stop` returns true;
  /// empty: never. `stop` must be thread-safe. Not during Run.
  void SetStop(std::function<bool()> stop) { stop_ = std::move(stop); }
  /// Whether to end early. Thread-safe, also during Run.
  [[nodiscard]] bool StopRequested() const { return stop_ && stop_(); }

  /// Return at least `num_bytes` of uninitialised memory, valid until the next
  /// call with the same slot: slot t belongs to thread t of Run, slots
  /// num_threads() and num_threads() + 1 to the caller. Only the slot's owner
  /// may call. Kept from
  /// call to call, as touching fresh pages costs more than computing on them.
  /// Throws std::bad_alloc.
  [[nodiscard]] std::byte* Scratch(std::size_t slot, std::size_t num_bytes);
  /// Free all scratch if it is more than kMaxKeptScratch bytes together. Caller
  /// only, not during Run.
  void TrimScratch();
  static constexpr std::size_t kMaxKeptScratch = std::size_t{64} << 20U;

 private:
  void WorkerLoop(std::size_t thread);
  void WorkThrough(std::size_t thread);

  std::function<bool()> stop_;
  std::vector<AlignedBuffer> scratch_;
  std::vector<std::jthread> workers_;
  // The current call. Written only while no item is unclaimed or unfinished,
  // read only by threads that hold a claim: so never both at once.
  const absl::FunctionRef<void(std::int64_t, std::size_t)>* work_ = nullptr;
  std::int64_t num_items_ = 0;
  std::atomic<std::int64_t> num_unclaimed_{0};
  std::atomic<std::int64_t> num_unfinished_{0};
  // Counts calls; what idle workers wait on.
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace attention
