// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/parallel/cpu_affinity.h"
#include "core/tensor/tensor.h"

namespace attention {

// core/parallel: threads that compute, the CPUs they run on and the scratch
// memory they work in. Does not know what is computed. Uses core/tensor.

/// Scratch memory that a pool holds from its start on, with every page touched:
/// the first request of a size then costs no more than the next, as the first
/// touch of a page costs more than computing on it.
struct ScratchReserve {
  std::size_t lease_bytes = std::size_t{64} << 20U;  ///< of all leases together
  std::size_t thread_bytes = std::size_t{2} << 20U;  ///< of each thread
};

/// A small team of threads that works through numbered items, and the scratch
/// memory it works in.
///
/// The calling thread works too, so a pool of one thread starts none. Items are
/// claimed one by one from an atomic counter; idle workers look out for the
/// next call for a few tens of microseconds, then sleep on a futex, and a
/// worker that wakes late is never waited for.
///
/// A worker does not wake on the CPU Run is called on, if it may run on another
/// (SleepAffinity; three system calls a sleeper when that CPU changes). The
/// kernel of a KVM guest, which takes an idle virtual CPU for a busy one, would
/// wake it just there, where it waits for milliseconds: after a pause two
/// threads would take as long as one.
///
/// Not thread-safe: one caller at a time.
class ComputePool {
 public:
  /// \param num_threads at least 1, the caller included.
  /// \param pinning of the threads it starts: thread t to CPU t of those the
  ///   constructor's caller may run on. Run's caller, thread 0, pins itself.
  /// Throws std::bad_alloc, and std::system_error where no thread can start.
  explicit ComputePool(std::size_t num_threads,
                       Pinning pinning = Pinning::kNone,
                       const ScratchReserve& reserve = {});
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  [[nodiscard]] std::size_t num_threads() const { return workers_.size() + 1; }
  /// Scratch memory it holds from its start on.
  [[nodiscard]] std::size_t reserved_bytes() const;

  /// Call `work(item, thread)` once for every item in [0, num_items), with
  /// thread in [0, num_threads()) naming the thread it runs on; return when all
  /// calls have returned. `work` must not throw.
  void Run(std::int64_t num_items,
           absl::FunctionRef<void(std::int64_t, std::size_t)> work);

  /// Other work that may come between two items of Run, once it is due: so a
  /// long call holds up a short one no longer than an item.
  class Interlude {
   public:
    virtual ~Interlude() = default;
    /// Called by Run's caller behind every item it works on: must be quick.
    [[nodiscard]] virtual bool IsDue() = 0;
    /// Called once each time it was due, by Run's caller, with no item under
    /// way and in the default floating-point environment. May call Run, which
    /// has no interludes then. Must not throw.
    virtual void Play() = 0;
  };

  /// Have Run look for an interlude from its next call on; null for none, as at
  /// the start. Borrowed. Called by Run's caller.
  void SetInterlude(Interlude* interlude) { interlude_ = interlude; }

  /// Return at least `num_bytes` of uninitialised memory for `thread` of Run:
  /// called by that thread, valid until its next call or the end of Run.
  /// Reserved memory if that is enough. Throws std::bad_alloc.
  [[nodiscard]] std::byte* Scratch(std::size_t thread, std::size_t num_bytes);

  /// Uninitialised memory for Run's caller: reserved memory if enough of it is
  /// free, else memory of its own. Leases end in the reverse order of their
  /// making.
  class Lease {
   public:
    /// Throws std::bad_alloc. Lifetime: borrows the pool.
    Lease(ComputePool& pool, std::size_t num_bytes);
    ~Lease() { pool_.num_leased_ = num_leased_before_; }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    [[nodiscard]] std::byte* data() { return data_; }

   private:
    ComputePool& pool_;
    std::size_t num_leased_before_;
    AlignedBuffer own_;  // if the reserve is not enough
    std::byte* data_;
  };

 private:
  struct ThreadScratch {
    AlignedBuffer reserved;
    AlignedBuffer larger;  // until the end of Run
  };

  void StopWorkers();
  void WorkerLoop(std::size_t thread);
  void Publish(std::int64_t num_left);
  void Announce();
  [[nodiscard]] std::int64_t Withdraw();
  void PlayInterlude();
  // Return whether `interlude`, if there is one, is due.
  bool WorkThrough(std::size_t thread, Interlude* interlude = nullptr);
  void Sleep(std::size_t thread, std::uint32_t seen);
  void KeepSleepersOff(int cpu);

  const Pinning pinning_;
  std::vector<SleepAffinity> sleepers_;  // by thread; the first never sleeps
  std::atomic<int> callers_cpu_{-1};     // of the last call of Run
  std::vector<ThreadScratch> scratch_;
  AlignedBuffer lease_memory_;
  std::size_t num_leased_ = 0;  // bytes of lease_memory_
  std::vector<std::jthread> workers_;
  Interlude* interlude_ = nullptr;
  bool in_interlude_ = false;
  // The current call. Written only while no item is unclaimed or unfinished,
  // read only by threads that hold a claim: so never both at once.
  const absl::FunctionRef<void(std::int64_t, std::size_t)>* work_ = nullptr;
  std::int64_t num_items_ = 0;
  std::atomic<std::int64_t> num_unclaimed_{0};
  std::atomic<std::int64_t> num_unfinished_{0};
  // Counts calls; what idle workers wait on.
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::uint32_t> num_asleep_{0};  // or about to be
  std::atomic<bool> stopping_{false};
};

}  // namespace attention
