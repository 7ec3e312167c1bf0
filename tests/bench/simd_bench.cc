// SPDX-License-Identifier: Apache-2.0
// What core/simd takes per element: nanoseconds are 1e9 / items_per_second.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/simd/convert.h"
#include "core/simd/multiply.h"
#include "core/simd/softmax.h"
#include "core/simd/store.h"

namespace attention {
namespace {

constexpr std::size_t kTile = 64;

void CountElements(benchmark::State& state, std::size_t count) {
  state.SetItemsProcessed(state.iterations() *
                          static_cast<std::int64_t>(count));
}

std::vector<float> Floats(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(i * 7919 % 1009) * 0.01F - 5.0F;
  }
  return values;
}

// Products as the core has them: of the queries of a head and one page of keys
// after the other, of weights and a head's values, of rows and the panels of a
// layer. Items are fused multiply-adds.
struct ProductSize {
  std::int64_t rows, columns, depth;
  bool strips;
};

void MultiplyAgain(benchmark::State& state, const ProductSize& size,
                   std::int64_t num_products) {
  const auto count = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  const std::vector<float> a = Floats(count(size.rows * size.depth));
  const std::vector<float> b =
      Floats(count(size.depth * size.columns * num_products));
  const std::int64_t ldc = size.columns * num_products;
  std::vector<float> c(count(size.rows * ldc));
  const std::int64_t strip = std::min(MultiplyStrip(), size.columns);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < num_products; ++i) {
      Multiply({.rows = size.rows,
                .columns = size.columns,
                .depth = size.depth,
                .a = a.data(),
                .lda = size.depth,
                .b = b.data() + i * size.depth * size.columns,
                .ldb = size.strips ? strip : size.columns,
                .c = c.data() + i * size.columns,
                .ldc = ldc,
                .strip_step = size.strips ? strip * size.depth : 0});
    }
    benchmark::ClobberMemory();
  }
  CountElements(state,
                count(size.rows * size.columns * size.depth * num_products));
}

// rows, D, whether in strips: the scores of a block of keys
void BM_MultiplyKeys(benchmark::State& state) {
  MultiplyAgain(state,
                {state.range(0), 64, state.range(1), state.range(2) != 0}, 8);
}
BENCHMARK(BM_MultiplyKeys)
    ->ArgNames({"rows", "D", "strips"})
    ->ArgsProduct({{1, 10, 36, 50, 64}, {16, 64, 128}, {0, 1}});

// rows, D, whether in strips: a block of keys by its values
void BM_MultiplyValues(benchmark::State& state) {
  MultiplyAgain(state,
                {state.range(0), state.range(1), 512, state.range(2) != 0}, 1);
}
BENCHMARK(BM_MultiplyValues)
    ->ArgNames({"rows", "D", "strips"})
    ->ArgsProduct({{1, 10, 36, 50, 64}, {16, 64, 128}, {0, 1}});

// rows, K, whether in strips: twelve panels of a weight
void BM_MultiplyWeights(benchmark::State& state) {
  MultiplyAgain(state,
                {state.range(0), 64, state.range(1), state.range(2) != 0}, 12);
}
BENCHMARK(BM_MultiplyWeights)
    ->ArgNames({"rows", "K", "strips"})
    ->ArgsProduct({{1, 2, 10, 64}, {128, 512, 1024}, {0, 1}});

// rows, width, whether there is a mask, whether bfloat16 is wanted
void BM_SoftmaxBlock(benchmark::State& state) {
  const auto rows = static_cast<std::size_t>(state.range(0));
  const auto width = static_cast<std::size_t>(state.range(1));
  std::vector<float> scores = Floats(rows * width);
  const std::vector<float> mask = Floats(width);
  const std::vector<std::int64_t> limits(rows, state.range(1));
  std::vector<float> maxima(rows);
  std::vector<float> sums(rows);
  std::vector<std::uint16_t> bf16(rows * width);
  const ScoreBlock block = {
      .scores = scores.data(),
      .stride = state.range(1),
      .rows = state.range(0),
      .width = state.range(1),
      .limits = limits.data(),
      .mask = state.range(2) != 0 ? mask.data() : nullptr,
      .mask_stride = 0,
      .scale = 0.125F,
      .maxima = maxima.data(),
      .sums = sums.data(),
      .bf16 = state.range(3) != 0 ? bf16.data() : nullptr};
  for (auto _ : state) {
    SoftmaxBlock(block);
    benchmark::ClobberMemory();
  }
  CountElements(state, rows * width);
}
BENCHMARK(BM_SoftmaxBlock)
    ->ArgNames({"rows", "width", "mask", "bf16"})
    ->Args({64, 512, 0, 0})
    ->Args({64, 512, 1, 0})
    ->Args({64, 512, 0, 1})
    ->Args({10, 16, 0, 0})
    ->Args({10, 16, 1, 0});

void BM_MergeBlock(benchmark::State& state) {
  std::vector<float> values = Floats(kTile * kTile);
  std::vector<float> block = Floats(kTile * kTile);
  std::vector<float> maxima(kTile, 1.0F);
  std::vector<float> sums(kTile, 1.0F);
  const RunningRows rows = {values.data(), kTile, maxima.data(), sums.data()};
  std::vector<float> block_sums(kTile);
  const RunningRows next = {block.data(), kTile, maxima.data(),
                            block_sums.data()};
  for (auto _ : state) {
    MergeBlock(kTile, kTile, rows, next);
    benchmark::ClobberMemory();
  }
  CountElements(state, kTile * kTile);
}
BENCHMARK(BM_MergeBlock);

void BM_StorePatch(benchmark::State& state) {
  const std::vector<float> values = Floats(kTile * kTile);
  std::vector<float> to(kTile * kTile);
  const Patch tile = {values.data(), kTile, kTile, kTile, values.data()};
  for (auto _ : state) {
    StorePatch(tile, static_cast<Epilogue>(state.range(0)), to.data(), kTile);
    benchmark::ClobberMemory();
  }
  CountElements(state, kTile * kTile);
}
BENCHMARK(BM_StorePatch)->ArgName("epilogue")->DenseRange(0, 2);

void BM_StoreTransposed(benchmark::State& state) {
  const std::vector<float> values = Floats(kTile * kTile);
  std::vector<float> to(kTile * kTile);
  const Patch tile = {values.data(), kTile, kTile, kTile, values.data()};
  for (auto _ : state) {
    StoreTransposed(tile, to.data(), kTile);
    benchmark::ClobberMemory();
  }
  CountElements(state, kTile * kTile);
}
BENCHMARK(BM_StoreTransposed);

template <void (*Store)(const Patch&, std::int64_t, std::uint16_t*,
                        std::int64_t)>
void BM_StorePairs(benchmark::State& state) {
  const std::vector<float> values = Floats(kTile * kTile);
  std::vector<std::uint16_t> to(kTile * kTile);
  const Patch tile = {values.data(), kTile, kTile, kTile, values.data()};
  for (auto _ : state) {
    Store(tile, 0, to.data(), kTile);
    benchmark::ClobberMemory();
  }
  CountElements(state, kTile * kTile);
}
BENCHMARK(BM_StorePairs<StoreTransposedPairs>)->Name("BM_StoreTransposedPairs");
BENCHMARK(BM_StorePairs<StoreRowPairs>)->Name("BM_StoreRowPairs");

template <void (*Convert)(const float*, std::size_t, std::uint16_t*)>
void BM_Narrow(benchmark::State& state) {
  const std::vector<float> from = Floats(kTile * kTile);
  std::vector<std::uint16_t> to(from.size());
  for (auto _ : state) {
    Convert(from.data(), from.size(), to.data());
    benchmark::ClobberMemory();
  }
  CountElements(state, from.size());
}
BENCHMARK(BM_Narrow<FloatToBf16>)->Name("BM_FloatToBf16");
BENCHMARK(BM_Narrow<FloatToHalf>)->Name("BM_FloatToHalf");

template <void (*Convert)(const std::uint16_t*, std::size_t, float*)>
void BM_Widen(benchmark::State& state) {
  const std::vector<std::uint16_t> from(kTile * kTile, 0x3C80);
  std::vector<float> to(from.size());
  for (auto _ : state) {
    Convert(from.data(), from.size(), to.data());
    benchmark::ClobberMemory();
  }
  CountElements(state, from.size());
}
BENCHMARK(BM_Widen<Bf16ToFloat>)->Name("BM_Bf16ToFloat");
BENCHMARK(BM_Widen<HalfToFloat>)->Name("BM_HalfToFloat");

}  // namespace
}  // namespace attention
