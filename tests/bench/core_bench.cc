// SPDX-License-Identifier: Apache-2.0
// Benchmark of one forward pass in process, self-attention, float32 and
// bfloat16 tensors and matmuls. Arguments: N, L, E, H, threads. And of what an
// attn_mask (L, L) costs.
//
//   core_bench --benchmark_filter='float32/8/128/768/12/2'
#include <benchmark/benchmark.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "core/engine/layer_implementation.h"
#include "core/tensor/convert.h"
#include "core/tensor/random_tensor.h"

namespace attention {
namespace {

// Weights of uniform values that keep the scores small.
ModuleWeights MakeWeights(const MultiHeadAttentionConfig& config,
                          DataType dtype) {
  std::vector<Tensor> tensors;
  NamedTensors named;
  for (const WeightSpec& spec : ExpectedWeights(config)) {
    tensors.push_back(RandomTensor(dtype, spec.shape, 1,
                                   static_cast<std::uint32_t>(tensors.size()),
                                   0.0625F));
  }
  std::size_t next = 0;
  for (const WeightSpec& spec : ExpectedWeights(config)) {
    named.emplace(spec.name, tensors[next++].view());
  }
  return *CollectWeights(config, named);
}

// An attn_mask (L, L) that hides a seventh of the keys.
Tensor MakeMask(DataType dtype, std::int64_t length) {
  Tensor mask(dtype, {length, length});
  const auto count = static_cast<std::size_t>(length * length);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = i % 7 == 3 ? 1.0F : 0.0F;
  if (dtype == DataType::kBool) {
    std::byte* to = mask.mutable_view().data;
    for (const float value : values) *to++ = std::byte{value > 0.0F};
  } else {
    for (float& value : values) value *= -std::numeric_limits<float>::max();
    StoreReals(values.data(), count, dtype, mask.mutable_view().data);
  }
  return mask;
}

void Forward(benchmark::State& state, DataType dtype,
             std::optional<DataType> mask_dtype = std::nullopt) {
  MultiHeadAttentionConfig config;
  const std::int64_t batch_size = state.range(0);
  const std::int64_t length = state.range(1);
  config.embed_dim = state.range(2);
  config.num_heads = state.range(3);
  config.batch_first = true;
  config.compute_dtype = dtype;
  const auto attention =
      MakeLayerImplementation(config, MakeWeights(config, dtype));
  if (!attention.ok()) {
    return state.SkipWithError(attention.status().ToString().c_str());
  }
  const Tensor query =
      RandomTensor(dtype, {batch_size, length, config.embed_dim}, 2);
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.need_weights = false;
  Tensor mask;
  if (mask_dtype) {
    mask = MakeMask(*mask_dtype, length);
    inputs.attn_mask = mask.view();
  }
  Tensor output(dtype, query.shape());
  ComputePool pool(static_cast<std::size_t>(state.range(4)));
  for (auto _ : state) {
    const auto batch = ResolveRequest(config, inputs);
    (*batch)->Bind({output.mutable_view(), {}});
    const absl::Status status =
        (*attention)->Forward((*batch)->sequences, pool);
    if (!status.ok()) {
      return state.SkipWithError(status.ToString().c_str());
    }
    benchmark::DoNotOptimize(output.mutable_view().data);
  }
  state.SetItemsProcessed(state.iterations() * batch_size * length);
}

void Shapes(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t threads : {1, 2}) {
    for (const std::vector<std::int64_t>& shape :
         {std::vector<std::int64_t>{1, 1, 768, 12},
          {1, 16, 128, 8},
          {64, 10, 128, 8},
          {4, 100, 512, 8},
          {2, 50, 256, 4},
          {1, 128, 768, 12},
          {8, 128, 768, 12},
          {1, 512, 768, 12},
          {8, 512, 768, 12},
          {1, 2048, 1024, 16}}) {
      std::vector<std::int64_t> arguments = shape;
      arguments.push_back(threads);
      bench->Args(arguments);
    }
  }
  bench->Unit(benchmark::kMicrosecond)->UseRealTime();
}

BENCHMARK_CAPTURE(Forward, float32, DataType::kFloat32)->Apply(Shapes);
BENCHMARK_CAPTURE(Forward, bfloat16, DataType::kBFloat16)->Apply(Shapes);

void MaskedShapes(benchmark::internal::Benchmark* bench) {
  bench->Args({8, 128, 768, 12, 2})
      ->Args({1, 512, 768, 12, 2})
      ->Args({1, 2048, 1024, 16, 2})
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

BENCHMARK_CAPTURE(Forward, no_mask, DataType::kFloat32)->Apply(MaskedShapes);
BENCHMARK_CAPTURE(Forward, bool_mask, DataType::kFloat32, DataType::kBool)
    ->Apply(MaskedShapes);
BENCHMARK_CAPTURE(Forward, float32_mask, DataType::kFloat32, DataType::kFloat32)
    ->Apply(MaskedShapes);
BENCHMARK_CAPTURE(Forward, float16_mask, DataType::kFloat32, DataType::kFloat16)
    ->Apply(MaskedShapes);

}  // namespace
}  // namespace attention
