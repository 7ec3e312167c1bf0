// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <vector>

#include "core/serving/serving_observer.h"
#include "server/rpc/call_observer.h"

namespace attention {

/// Tells several observers, one after the other. Thread-safe once all are
/// added.
class ObserverFanOut final : public CallObserver, public ServingObserver {
 public:
  /// \param observer of either kind or both; borrowed.
  template <typename Observer>
  void Add(Observer& observer) {
    if constexpr (std::derived_from<Observer, CallObserver>) {
      call_observers_.push_back(&observer);
    }
    if constexpr (std::derived_from<Observer, ServingObserver>) {
      serving_observers_.push_back(&observer);
    }
  }

  void OnEntered(const CallRecord& call) override {
    for (CallObserver* observer : call_observers_) observer->OnEntered(call);
  }
  void OnMessage(const CallRecord& call, std::size_t num_bytes) override {
    for (CallObserver* observer : call_observers_) {
      observer->OnMessage(call, num_bytes);
    }
  }
  void OnLeft(const CallRecord& call, const absl::Status& status) override {
    for (CallObserver* observer : call_observers_) {
      observer->OnLeft(call, status);
    }
  }

  void OnSubmitted() override {
    for (ServingObserver* observer : serving_observers_) {
      observer->OnSubmitted();
    }
  }
  void OnBatchStarted(std::size_t num_requests,
                      const ForwardTask::Size& size) override {
    for (ServingObserver* observer : serving_observers_) {
      observer->OnBatchStarted(num_requests, size);
    }
  }
  void OnStarted(const ForwardTask::Times& times) override {
    for (ServingObserver* observer : serving_observers_) {
      observer->OnStarted(times);
    }
  }
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override {
    for (ServingObserver* observer : serving_observers_) {
      observer->OnCompleted(status, times);
    }
  }

 private:
  std::vector<CallObserver*> call_observers_;
  std::vector<ServingObserver*> serving_observers_;
};

}  // namespace attention
