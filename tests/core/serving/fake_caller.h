// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "core/serving/forward_task.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/attention_case.h"

namespace attention::testing {

/// Embedding width 8, two heads.
[[nodiscard]] inline MultiHeadAttentionConfig SmallConfig() {
  MultiHeadAttentionConfig config;
  config.embed_dim = 8;
  config.num_heads = 2;
  return config;
}

[[nodiscard]] inline std::shared_ptr<const AttentionModule> MakeSmallModule() {
  return AttentionModule::Create(
             {.name = "m", .version = 1, .weights_digest = ""}, SmallConfig(),
             MakeWeights(SmallConfig(), DataType::kFloat32, /*seed=*/1))
      .value();
}

/// A caller of the small module that owns its query, of one sequence, and waits
/// for its outcome.
class FakeCaller final : public ForwardTask::Caller {
 public:
  explicit FakeCaller(std::int64_t length = 3, std::uint64_t seed = 2,
                      DataType dtype = DataType::kFloat32)
      : query(RandomTensor(dtype, {length, 1, 8}, seed)) {}

  [[nodiscard]] bool IsCancelled() const override { return cancelled; }
  [[nodiscard]] AttentionOutputs AllocateOutputs(const OutputShapes& shapes,
                                                 DataType dtype) override {
    allocated = true;
    if (on_allocate) on_allocate();
    output.emplace(dtype, shapes.output);
    return {.output = output->mutable_view(), .weights = std::nullopt};
  }
  void Complete(const absl::Status& status,
                const ForwardTask::Times& times) override {
    measured = times;
    ++num_completions;
    if (on_complete) on_complete();
    outcome.set_value(status);
  }

  [[nodiscard]] ForwardTask::Work MakeWork(
      std::shared_ptr<const AttentionModule> module) const {
    AttentionInputs inputs;
    inputs.query = query.view();
    inputs.need_weights = false;
    ForwardTask::Work work;
    work.request = ResolveRequest(module->config(), inputs).value();
    work.module = std::move(module);
    return work;
  }

  /// Wait for the outcome, once.
  [[nodiscard]] absl::Status Outcome() { return outcome.get_future().get(); }

  Tensor query;
  std::atomic<bool> cancelled = false;
  std::function<void()> on_allocate;
  std::function<void()> on_complete;
  bool allocated = false;
  std::optional<Tensor> output;
  ForwardTask::Times measured;
  std::atomic<int> num_completions = 0;
  std::promise<absl::Status> outcome;
};

[[nodiscard]] inline std::unique_ptr<ForwardTask> MakeTask(
    const std::shared_ptr<FakeCaller>& caller,
    const std::shared_ptr<const AttentionModule>& module = MakeSmallModule()) {
  return std::make_unique<ForwardTask>(caller->MakeWork(module), caller);
}

}  // namespace attention::testing
