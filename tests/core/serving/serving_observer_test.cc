// SPDX-License-Identifier: Apache-2.0
#include "core/serving/serving_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/serving/executor.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/attention_case.h"

namespace attention {
namespace {

using ::testing::ElementsAre;

MultiHeadAttentionConfig Config() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 8;
  config.num_heads = 2;
  return config;
}

// Writes down each event as a text.
class EventLog final : public ServingObserver {
 public:
  void OnSubmitted() override { Add("submitted"); }
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

class FakeCaller final : public ForwardTask::Caller {
 public:
  [[nodiscard]] bool IsCancelled() const override { return cancelled; }
  [[nodiscard]] AttentionOutputs AllocateOutputs(const OutputShapes& shapes,
                                                 DataType dtype) override {
    if (on_allocate) on_allocate();
    output.emplace(dtype, shapes.output);
    return {.output = output->mutable_view(), .weights = std::nullopt};
  }
  void Complete(const absl::Status& /*status*/,
                const ForwardTask::Times& /*times*/) override {
    done.set_value();
  }

  Tensor query = RandomTensor(DataType::kFloat32, {3, 1, 8}, /*seed=*/2);
  std::atomic<bool> cancelled = false;
  std::function<void()> on_allocate;
  std::optional<Tensor> output;
  std::promise<void> done;
};

std::unique_ptr<ForwardTask> MakeTask(
    const std::shared_ptr<FakeCaller>& caller) {
  AttentionInputs inputs;
  inputs.query = caller->query.view();
  inputs.need_weights = false;
  ForwardTask::Work work;
  work.module =
      AttentionModule::Create(
          {.name = "m", .version = 1, .weights_digest = ""}, Config(),
          testing::MakeWeights(Config(), DataType::kFloat32, /*seed=*/1))
          .value();
  work.request = ResolveRequest(Config(), inputs).value();
  return std::make_unique<ForwardTask>(std::move(work), caller);
}

TEST(ServingObserverTest, SeesATaskThatIsComputed) {
  EventLog log;
  const auto caller = std::make_shared<FakeCaller>();
  Executor executor(/*num_threads=*/1, Pinning::kNone, &log);

  executor.Submit(MakeTask(caller));
  caller->done.get_future().wait();

  EXPECT_THAT(log.events(),
              ElementsAre("submitted", "started 1", "completed 1 OK"));
}

TEST(ServingObserverTest, SeesATaskThatFails) {
  EventLog log;
  const auto caller = std::make_shared<FakeCaller>();
  caller->on_allocate = [] { throw std::bad_alloc(); };
  Executor executor(/*num_threads=*/1, Pinning::kNone, &log);

  executor.Submit(MakeTask(caller));
  caller->done.get_future().wait();

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
    queued->done.get_future().wait();  // until the executor stops
  };
  gone->cancelled = true;
  {
    Executor executor(/*num_threads=*/1, Pinning::kNone, &log);
    executor.Submit(MakeTask(running));
    started.get_future().wait();

    executor.Submit(MakeTask(gone));
    executor.Submit(MakeTask(cancelled));
    cancelled->cancelled = true;
    executor.DropCancelled(*cancelled);
    executor.Submit(MakeTask(queued));
  }

  EXPECT_THAT(log.events(),
              ElementsAre("submitted", "started 1",                // running
                          "submitted", "completed 0 CANCELLED",    // gone
                          "submitted", "completed 0 CANCELLED",    // cancelled
                          "submitted", "completed 0 UNAVAILABLE",  // queued
                          "completed 1 OK"));                      // running
}

}  // namespace
}  // namespace attention
