// SPDX-License-Identifier: Apache-2.0
// What counting costs a request, and what a scrape costs.
#include <benchmark/benchmark.h>

#include <chrono>
#include <string>

#include "server/metrics/metrics_observer.h"
#include "server/metrics/metrics_page.h"

namespace attention {
namespace {

constexpr int kNumModules = 100;

std::string ModuleName(int number) { return "module" + std::to_string(number); }

CallRecord Answered(const std::string& module) {
  CallRecord call;
  call.method = "/attention.v1.AttentionService/Forward";
  call.module = module;
  call.request_bytes = 1 << 20;
  call.response_bytes = 1 << 20;
  call.decode = std::chrono::microseconds(30);
  call.times = {.queue = std::chrono::microseconds(10),
                .compute = std::chrono::microseconds(300),
                .batch_size = 1};
  call.total = std::chrono::microseconds(400);
  return call;
}

// All that an observer is told of a request that is computed alone.
void Tell(const CallRecord& call, MetricsObserver& observer) {
  observer.OnEntered(call);
  observer.OnSubmitted();
  observer.OnBatchStarted(1, {.tokens = 10, .pairs = 100});
  observer.OnStarted(call.times);
  observer.OnCompleted(absl::OkStatus(), call.times);
  observer.OnLeft(call, absl::OkStatus());
}

MetricsObserver& ObserverOfManyModules() {
  static MetricsObserver& observer = *[] {
    auto* made = new MetricsObserver;
    for (int i = 0; i < kNumModules; ++i) {
      made->OnModuleChanged(ModuleName(i), /*serving=*/true);
      Tell(Answered(ModuleName(i)), *made);
    }
    return made;
  }();
  return observer;
}

void BM_Request(benchmark::State& state) {
  MetricsObserver& observer = ObserverOfManyModules();
  const CallRecord call = Answered(ModuleName(kNumModules / 2));
  for (auto _ : state) Tell(call, observer);
}
BENCHMARK(BM_Request)->Threads(1)->Threads(2);

void BM_Page(benchmark::State& state) {
  const MetricsPage page(ObserverOfManyModules(), {});
  std::size_t num_bytes = 0;
  for (auto _ : state) num_bytes = page.Write().size();
  state.counters["bytes"] = static_cast<double>(num_bytes);
}
BENCHMARK(BM_Page);

}  // namespace
}  // namespace attention
