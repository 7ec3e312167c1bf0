// SPDX-License-Identifier: Apache-2.0
#include "core/serving/serving_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/serving/executor.h"
#include "tests/core/serving/fake_caller.h"

namespace attention {
namespace {

using ::testing::ElementsAre;

using testing::FakeCaller;
using testing::MakeTask;

// Writes down each event as a text.
class EventLog final : public ServingObserver {
 public:
  void OnSubmitted() override { Add("submitted"); }
  void OnBatchStarted(std::size_t num_requests,
                      const ForwardTask::Size& size) override {
    Add("batch of " + std::to_string(num_requests) + " with " +
        std::to_string(size.tokens) + " tokens");
  }
  void OnStarted(const ForwardTask::Times& times) override {
    Add("started " + std::to_string(times.batch_size));
  }
  void OnCompleted(const absl::Status& status,
                   const ForwardTask::Times& times) override {
    Add("completed " + std::to_string(times.batch_size) + " " +
        absl::StatusCodeToString(status.code()));
  }

  [[nodiscard]] std::vector<std::string> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  void Add(std::string event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }

  mutable std::mutex mutex_;
  std::vector<std::string> events_;
};

TEST(ServingObserverTest, SeesATaskThatIsComputed) {
  EventLog log;
  const auto caller = std::make_shared<FakeCaller>();
  Executor executor({.num_threads = 1}, &log);

  executor.Submit(MakeTask(caller));
  (void)caller->Outcome();

  EXPECT_THAT(log.events(), ElementsAre("submitted", "batch of 1 with 3 tokens",
                                        "started 1", "completed 1 OK"));
}

TEST(ServingObserverTest, SeesATaskThatFails) {
  EventLog log;
  const auto caller = std::make_shared<FakeCaller>();
  caller->on_allocate = [] { throw std::bad_alloc(); };
  Executor executor({.num_threads = 1}, &log);

  executor.Submit(MakeTask(caller));
  (void)caller->Outcome();

  EXPECT_THAT(log.events(), ElementsAre("submitted", "started 1",
                                        "completed 1 RESOURCE_EXHAUSTED"));
}

TEST(ServingObserverTest, SeesTasksThatAreNeverStarted) {
  EventLog log;
  const auto running = std::make_shared<FakeCaller>();
  const auto gone = std::make_shared<FakeCaller>();
  const auto cancelled = std::make_shared<FakeCaller>();
  const auto queued = std::make_shared<FakeCaller>();
  std::promise<void> started;
  running->on_allocate = [&] {
    started.set_value();
    (void)queued->Outcome();  // until the executor stops
  };
  gone->cancelled = true;
  {
    Executor executor({.num_threads = 1}, &log);
    executor.Submit(MakeTask(running));
    started.get_future().wait();

    executor.Submit(MakeTask(gone));
    executor.Submit(MakeTask(cancelled));
    cancelled->cancelled = true;
    executor.DropCancelled(*cancelled);
    executor.Submit(MakeTask(queued));
  }

  EXPECT_THAT(log.events(),
              ElementsAre("submitted",                              // running
                          "submitted", "completed 0 CANCELLED",     // gone
                          "submitted", "completed 0 CANCELLED",     // cancelled
                          "submitted", "completed 0 UNAVAILABLE",   // queued
                          "batch of 1 with 3 tokens", "started 1",  // running
                          "completed 1 OK"));
}

}  // namespace
}  // namespace attention
