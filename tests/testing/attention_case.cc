// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/attention_case.h"

#include <gtest/gtest.h>

#include <utility>

#include "core/engine/layer_implementation.h"
#include "core/reference/reference_implementation.h"
#include "core/tensor/random_tensor.h"

namespace attention::testing {
ModuleWeights MakeWeights(const ModuleConfig& config, DataType dtype,
                          std::uint64_t seed) {
  std::vector<Tensor> tensors;
  NamedTensors named;
  const std::vector<WeightSpec> specs = ExpectedWeights(config);
  tensors.reserve(specs.size());
  for (const WeightSpec& spec : specs) {
    const auto stream = static_cast<std::uint32_t>(tensors.size());
    tensors.push_back(RandomTensor(dtype, spec.shape, seed, stream, 0.25F));
    named.emplace(spec.name, tensors.back().view());
  }
  absl::StatusOr<ModuleWeights> weights = CollectWeights(config, named);
  EXPECT_TRUE(weights.ok()) << weights.status();
  return *std::move(weights);
}

ImplementationKind ReferenceKind() {
  return {"Reference", [](const ModuleConfig& config, ModuleWeights weights) {
            return MakeReferenceImplementation(
                config, MakeWeightStore(std::move(weights)));
          }};
}

namespace {

ImplementationKind KindOnPath(const std::string& name,
                              const ComputePath& path) {
  return {name,
          [path](const ModuleConfig& config, const ModuleWeights& weights) {
            auto attention = MakeLayerImplementation(config, weights, path);
            EXPECT_TRUE(attention.ok()) << attention.status();
            return *std::move(attention);
          }};
}

}  // namespace

ImplementationKind FusedKind() {
  return KindOnPath("Fused", {.kernels = KernelKind::kFused});
}

ImplementationKind FusedOneByOneKind() {
  return KindOnPath("FusedOneByOne",
                    {.kernels = KernelKind::kFused, .pass_bytes = 0});
}

ImplementationKind PrimitivesKind() {
  return KindOnPath("Primitives", {.kernels = KernelKind::kPrimitives});
}

std::vector<ImplementationKind> AllKinds() {
  std::vector<ImplementationKind> kinds = {ReferenceKind(), PrimitivesKind()};
  if (BestComputePath(DataType::kFloat32).kernels == KernelKind::kFused) {
    kinds.push_back(FusedKind());
    kinds.push_back(FusedOneByOneKind());
  }
  return kinds;
}

std::optional<ImplementationKind> FusedBfloat16Kind() {
  const ComputePath path = BestComputePath(DataType::kBFloat16);
  if (path.dtype != DataType::kBFloat16) return std::nullopt;
  return KindOnPath("FusedBfloat16", path);
}

std::vector<ImplementationKind> InvariantKinds() {
  std::vector<ImplementationKind> kinds = AllKinds();
  if (const auto bfloat16 = FusedBfloat16Kind()) kinds.push_back(*bfloat16);
  return kinds;
}

absl::Status Forward(const ModuleImplementation& attention,
                     RequestPlan& request, const AttentionOutputs& outputs,
                     ComputePool& pool) {
  request.Bind(outputs);
  return attention.Forward(request.sequences, pool);
}

Answer Compute(const ModuleImplementation& attention,
               const ModuleConfig& config, const AttentionInputs& inputs,
               ComputePool& pool) {
  const auto request = ResolveRequest(config, inputs);
  EXPECT_TRUE(request.ok()) << request.status();
  if (!request.ok()) return {};
  Answer answer = MakeAnswer(**request);
  const absl::Status status =
      Forward(attention, **request, answer.outputs(), pool);
  EXPECT_TRUE(status.ok()) << status;
  return answer;
}

Answer MakeAnswer(const RequestPlan& request) {
  Answer answer{Tensor(request.dtype, request.shapes.output), {}};
  if (request.shapes.weights) {
    answer.weights.emplace(request.dtype, *request.shapes.weights);
  }
  return answer;
}

AttentionOutputs Answer::outputs() {
  AttentionOutputs outputs{output.mutable_view(), {}};
  if (weights) outputs.weights = weights->mutable_view();
  return outputs;
}

}  // namespace attention::testing
