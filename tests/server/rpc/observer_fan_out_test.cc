// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/observer_fan_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace attention {
namespace {

using ::testing::ElementsAre;

// Writes down each event under a name of its own.
class NamedObserver final : public CallObserver, public ServingObserver {
 public:
  NamedObserver(std::string name, std::vector<std::string>* events)
      : name_(std::move(name)), events_(events) {}

  void OnEntered(const CallRecord& call) override {
    Add("entered " + std::string(call.method));
  }
  void OnMessage(const CallRecord& call, std::size_t num_bytes) override {
    Add("message " + std::string(call.method) + " " +
        std::to_string(num_bytes));
  }
  void OnLeft(const CallRecord& call, const absl::Status& status) override {
    Add("left " + std::string(call.method) + " " +
        std::string(status.message()));
  }
  void OnSubmitted() override { Add("submitted"); }
  void OnBatchStarted(std::size_t num_requests,
                      const ForwardTask::Size& size) override {
    Add("batch " + std::to_string(num_requests) + " " +
        std::to_string(size.tokens));
  }
  void OnStarted(const ForwardTask::Times& times) override {
    Add("started " + std::to_string(times.batch_size));
  }
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override {
    Add("completed " + std::string(status.message()) + " " +
        std::to_string(times.batch_size));
  }

 private:
  void Add(const std::string& event) {
    events_->push_back(name_ + ": " + event);
  }

  const std::string name_;
  std::vector<std::string>* const events_;
};

TEST(ObserverFanOutTest, TellsEachEverything) {
  std::vector<std::string> events;
  NamedObserver first("a", &events);
  NamedObserver second("b", &events);
  ObserverFanOut observer;
  observer.Add(first);
  observer.Add(second);
  CallRecord call;
  call.method = "m";

  observer.OnEntered(call);
  observer.OnMessage(call, 5);
  observer.OnSubmitted();
  observer.OnBatchStarted(2, {.tokens = 3, .pairs = 4});
  observer.OnStarted({.batch_size = 2});
  observer.OnCompleted(absl::InternalError("why"), {.batch_size = 2});
  observer.OnLeft(call, absl::InternalError("why"));

  EXPECT_THAT(
      events,
      ElementsAre("a: entered m", "b: entered m", "a: message m 5",
                  "b: message m 5", "a: submitted", "b: submitted",
                  "a: batch 2 3", "b: batch 2 3", "a: started 2",
                  "b: started 2", "a: completed why 2", "b: completed why 2",
                  "a: left m why", "b: left m why"));
}

}  // namespace
}  // namespace attention
