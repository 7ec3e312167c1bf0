// SPDX-License-Identifier: Apache-2.0
// Tells ThreadSanitizer what gRPC hands from thread to thread.
//
// Debian's gRPC and Abseil are not instrumented: their locks, reference counts
// and queues order nothing in ThreadSanitizer's eyes. Much of grpc++ is inlined
// into our objects, which are instrumented, so what crosses gRPC would be
// reported as a race. Suppressing those reports would hide ours as well.
//
// Each function here stands before a function of gRPC or Abseil, announces the
// edge that the latter makes and calls it. This works because an executable's
// symbols come before its libraries', in the libraries' own calls too. What
// came before a release of an address comes before what follows an acquire of
// it. The address is that of the one object handed over (a lock, an operation,
// a call, a server, a slice): that two threads both use gRPC does not order
// them.
//
// The mangled names are those of Debian 13: gRPC 1.51 and Abseil 20240722.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <grpcpp/server.h>
#include <grpcpp/support/callback_common.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace {

using grpc::internal::ServerCallbackCall;
using grpc::internal::ServerReactor;

// The function that `own` stands before.
template <typename Function>
Function* Next(Function* own) {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(own), &info);
  const bool exported = info.dli_saddr == reinterpret_cast<void*>(own);
  void* next = exported ? dlsym(RTLD_NEXT, info.dli_sname) : nullptr;
  if (next == nullptr) {
    std::fprintf(stderr, "tests/testing/tsan: nothing follows %s\n",
                 exported ? info.dli_sname : "a function that is not exported");
    std::abort();
  }
  return reinterpret_cast<Function*>(next);
}

// Private counters of a call. An explicit instantiation may name them.
std::atomic_int& CallbacksOutstanding(ServerCallbackCall* call);
std::atomic_int& CancelConditions(ServerCallbackCall* call);

template <auto kCallbacks, auto kConditions>
struct CallCounters {
  friend std::atomic_int& CallbacksOutstanding(ServerCallbackCall* call) {
    return call->*kCallbacks;
  }
  friend std::atomic_int& CancelConditions(ServerCallbackCall* call) {
    return call->*kConditions;
  }
};
template struct CallCounters<
    &ServerCallbackCall::callbacks_outstanding_,
    &ServerCallbackCall::on_cancel_conditions_remaining_>;

}  // namespace

// Locks: an unlock comes before the next lock.

void Lock(void*) __asm__("_ZN4absl7debian75Mutex4LockEv");
void Lock(void* mutex) {
  static auto* const next = Next(&Lock);
  next(mutex);
  __tsan_acquire(mutex);
}

bool TryLock(void*) __asm__("_ZN4absl7debian75Mutex7TryLockEv");
bool TryLock(void* mutex) {
  static auto* const next = Next(&TryLock);
  const bool locked = next(mutex);
  if (locked) __tsan_acquire(mutex);
  return locked;
}

void Unlock(void*) __asm__("_ZN4absl7debian75Mutex6UnlockEv");
void Unlock(void* mutex) {
  static auto* const next = Next(&Unlock);
  __tsan_release(mutex);
  next(mutex);
}

// absl::CondVar unlocks and locks by functions of its own. KernelTimeout is one
// integer.
bool Wait(void*, void*, std::uint64_t) __asm__(
    "_ZN4absl7debian77CondVar10WaitCommonEPNS0_5MutexENS0_24synchronization_"
    "internal13KernelTimeoutE");
bool Wait(void* condition, void* mutex, std::uint64_t timeout) {
  static auto* const next = Next(&Wait);
  __tsan_release(mutex);
  const bool timed_out = next(condition, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

// Statuses: every owner's letting go of one comes before it is freed.

void LetGoOfStatus(const void*) __asm__(
    "_ZNK4absl7debian715status_internal9StatusRep5UnrefEv");
void LetGoOfStatus(const void* status) {
  static auto* const next = Next(&LetGoOfStatus);
  __tsan_release(const_cast<void*>(status));
  __tsan_acquire(const_cast<void*>(status));
  next(status);
}

// Operations: what starts one and what ends one come before its callback, or
// before its tag comes out of a completion queue.

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call,
                                                 const grpc_op* operations,
                                                 std::size_t num_operations,
                                                 void* tag, void* reserved) {
  static auto* const next = Next(&grpc_call_start_batch);
  __tsan_release(tag);
  return next(call, operations, num_operations, tag, reserved);
}

// An absl::Status is passed by its address.
void EndOperation(void*, void*, void*, void*, void*, void*, bool) __asm__(
    "_Z14grpc_cq_end_opP21grpc_completion_queuePvN4absl7debian76StatusEPFvS1_"
    "P18grpc_cq_completionES1_S6_b");
void EndOperation(void* queue, void* tag, void* status, void* done,
                  void* argument, void* storage, bool internal) {
  static auto* const next = Next(&EndOperation);
  __tsan_release(tag);
  next(queue, tag, status, done, argument, storage, internal);
}

void RunCallback(grpc_completion_queue_functor*, int) __asm__(
    "_ZN4grpc8internal22CallbackWithSuccessTag9StaticRunEP29grpc_completion_"
    "queue_functori");
void RunCallback(grpc_completion_queue_functor* tag, int ok) {
  __tsan_acquire(tag);
  static_cast<grpc::internal::CallbackWithSuccessTag*>(tag)->force_run(ok != 0);
}

// Such an operation always succeeds; its outcome is in the tag.
void RunStatusCallback(grpc_completion_queue_functor*, int) __asm__(
    "_ZN4grpc8internal21CallbackWithStatusTag9StaticRunEP29grpc_completion_"
    "queue_functori");
void RunStatusCallback(grpc_completion_queue_functor* functor, int /*ok*/) {
  __tsan_acquire(functor);
  auto* tag = static_cast<grpc::internal::CallbackWithStatusTag*>(functor);
  tag->force_run(std::move(*tag->status_ptr()));
}

void RunNewCall(grpc_completion_queue_functor*, int) __asm__(
    "_ZN4grpc6Server15CallbackRequestINS_"
    "21CallbackServerContextEE15CallbackCall"
    "Tag9StaticRunEP29grpc_completion_queue_functori");
void RunNewCall(grpc_completion_queue_functor* tag, int ok) {
  static auto* const next = Next(&RunNewCall);
  __tsan_acquire(tag);
  next(tag, ok);
}

extern "C" grpc_event grpc_completion_queue_next(grpc_completion_queue* queue,
                                                 gpr_timespec deadline,
                                                 void* reserved) {
  static auto* const next = Next(&grpc_completion_queue_next);
  const grpc_event event = next(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

extern "C" grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue,
                                                  void* tag,
                                                  gpr_timespec deadline,
                                                  void* reserved) {
  static auto* const next = Next(&grpc_completion_queue_pluck);
  const grpc_event event = next(queue, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

// Calls: all callbacks of one come before its OnDone. The callbacks count down
// in our objects, the last step may be in gRPC's.

void ScheduleOnDone(ServerCallbackCall*, bool) __asm__(
    "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
void ScheduleOnDone(ServerCallbackCall* call, bool inlineable) {
  static auto* const next = Next(&ScheduleOnDone);
  __tsan_acquire(&CallbacksOutstanding(call));
  next(call, inlineable);
}

namespace {

// Stands before a reactor whose OnCancel gRPC runs and then counts. Deletes
// itself.
class CancelledReactor final : public ServerReactor {
 public:
  CancelledReactor(ServerCallbackCall* call, ServerReactor* reactor)
      : call_(call), reactor_(reactor) {}

  void OnCancel() override {
    reactor_->OnCancel();
    __tsan_release(&CallbacksOutstanding(call_));
    delete this;
  }
  void OnDone() override { std::abort(); }  // gRPC asks the call's reactor
  bool InternalInlineable() override { return false; }

 private:
  ServerCallbackCall* const call_;
  ServerReactor* const reactor_;
};

}  // namespace

void CallOnCancel(ServerCallbackCall*, ServerReactor*) __asm__(
    "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13ServerReactor"
    "E");
void CallOnCancel(ServerCallbackCall* call, ServerReactor* reactor) {
  static auto* const next = Next(&CallOnCancel);
  __tsan_acquire(&CancelConditions(call));
  if (reactor->InternalInlineable()) {
    next(call, reactor);
  } else {
    next(call, new CancelledReactor(call, reactor));
  }
}

// Servers: the end of every call comes before the end of Shutdown.

void EndCallOfServer(grpc::Server*) __asm__(
    "_ZN4grpc6Server23UnrefWithPossibleNotifyEv");
void EndCallOfServer(grpc::Server* server) {
  static auto* const next = Next(&EndCallOfServer);
  __tsan_release(server);
  next(server);
}

void WaitForCallsOfServer(grpc::Server*) __asm__(
    "_ZN4grpc6Server18UnrefAndWaitLockedEv");
void WaitForCallsOfServer(grpc::Server* server) {
  static auto* const next = Next(&WaitForCallsOfServer);
  next(server);
  __tsan_acquire(server);
}

// Slices: making one of our memory comes before gRPC gives the memory back.

namespace {

struct Owner {
  void (*destroy)(void*);
  void* user_data;
};

void Destroy(void* owner) {
  __tsan_acquire(owner);
  const std::unique_ptr<Owner> taken(static_cast<Owner*>(owner));
  taken->destroy(taken->user_data);
}

}  // namespace

extern "C" grpc_slice grpc_slice_new_with_user_data(void* bytes,
                                                    std::size_t num_bytes,
                                                    void (*destroy)(void*),
                                                    void* user_data) {
  static auto* const next = Next(&grpc_slice_new_with_user_data);
  auto* owner = new Owner{destroy, user_data};
  __tsan_release(owner);
  return next(bytes, num_bytes, &Destroy, owner);
}
