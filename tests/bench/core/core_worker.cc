// SPDX-License-Identifier: Apache-2.0
// The core's side of the benchmark: reads one JSON request per line, computes
// in process, answers with one JSON object per line. bench_core.py drives it
// and the peers' workers, which speak the same protocol.
//
//   core_bench_worker 2 <<< '{"op": "peak", "dtype": "float32",
//                             "size": [1024, 1024, 1024]}'
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "core/parallel/compute_pool.h"
#include "tests/bench/core/bench_case.h"
#include "tests/bench/core/matmul_peak.h"
#include "tests/bench/core/process_memory.h"
#include "tests/bench/core/slot.h"

namespace attention::bench {
namespace {

void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

// Answers requests. One case is prepared at a time.
class Worker {
 public:
  Worker(std::size_t num_threads, PathChoice path)
      : pool_(num_threads), path_(path) {}

  // Throws std::exception when a request fails.
  [[nodiscard]] nlohmann::json Answer(const nlohmann::json& request) {
    const std::string op = request.at("op");
    if (op == "hello") return {{"threads", pool_.num_threads()}};
    if (op == "prepare") return Prepare(request);
    if (op == "run") return Run(request);
    if (op == "release") return Release();
    if (op == "peak") return Peak(request);
    if (op == "memory") return Memory();
    if (op == "first_calls") return FirstCalls(request);
    throw std::invalid_argument("unknown op " + op);
  }

 private:
  CaseSpec SpecOf(const nlohmann::json& request) const {
    CaseSpec spec = ParseCaseSpec(request.at("case"));
    spec.path = path_;
    return spec;
  }

  void Forward() { Check(prepared_->Forward(pool_)); }

  nlohmann::json Prepare(const nlohmann::json& request) {
    prepared_.reset();
    auto made = BenchCase::Load(SpecOf(request),
                                request.at("folder").get<std::string>());
    Check(made.status());
    prepared_ = *std::move(made);
    const ModuleImplementation& implementation = prepared_->implementation();
    if (request.at("check")) {
      Forward();
      prepared_->WriteAnswer(request.at("answers").get<std::string>());
    }
    return {{"variants", {std::string(implementation.name())}},
            {"compute_dtype", DataTypeName(implementation.compute_dtype())}};
  }

  nlohmann::json Run(const nlohmann::json& request) {
    if (!prepared_) throw std::invalid_argument("no case is prepared");
    const SlotLimits limits{.seconds = request.at("seconds"),
                            .min_calls = request.at("min_calls"),
                            .max_seconds = request.at("max_seconds")};
    const SlotResult result = MeasureSlot(limits, [this] { Forward(); });
    return {{"median_us", result.median_us},
            {"fastest_us", result.fastest_us},
            {"calls", result.num_calls},
            {"cpus_used", result.cpus_used}};
  }

  nlohmann::json Release() {
    prepared_.reset();
    return nlohmann::json::object();
  }

  nlohmann::json Peak(const nlohmann::json& request) {
    const DataType dtype =
        ParseDataType(request.at("dtype").get<std::string>());
    const nlohmann::json& size = request.at("size");
    nlohmann::json peaks = nlohmann::json::object();
    for (const MatmulPeak& peak : MeasureMatmulPeaks(
             {.rows = size.at(0), .depth = size.at(1), .columns = size.at(2)},
             dtype, pool_)) {
      peaks[peak.name] = peak.flops;
    }
    return {{"flops", peaks}};
  }

  // Meaningful in a fresh process only. All scratch counts, so none is
  // reserved.
  nlohmann::json Memory() {
    if (!prepared_) throw std::invalid_argument("no case is prepared");
    ComputePool pool(pool_.num_threads(), Pinning::kNone,
                     {.lease_bytes = 0, .thread_bytes = 0});
    return {{"growth_bytes",
             PeakMemoryGrowth([&] { Check(prepared_->Forward(pool)); })}};
  }

  // Time of a call, in microseconds.
  double TimeOf(BenchCase& bench_case) {
    constexpr double kMicroseconds = 1e6;
    const double start = NowSeconds();
    Check(bench_case.Forward(pool_));
    return (NowSeconds() - start) * kMicroseconds;
  }

  // Times of three calls of each of the requests, [N, L] pairs to one module:
  // the first right after one of another shape, the next right after it, and
  // the last after a pause, in which the pool's threads fall asleep.
  nlohmann::json FirstCalls(const nlohmann::json& request) {
    CaseSpec spec = SpecOf(request);
    const auto usual = BenchCase::Random(spec);
    Check(usual.status());
    nlohmann::json answers = nlohmann::json::array();
    for (const nlohmann::json& shape : request.at("shapes")) {
      spec.batch_size = shape.at(0);
      spec.query_length = shape.at(1);
      spec.key_length = spec.query_length;
      const auto made = BenchCase::Random(spec, **usual);
      for (int call = 0; call < 3; ++call) (void)TimeOf(**usual);
      nlohmann::json times = {TimeOf(*made), TimeOf(*made)};
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      times.push_back(TimeOf(*made));
      answers.push_back(times);
    }
    return {{"times_us", answers}};
  }

  ComputePool pool_;
  const PathChoice path_;
  std::unique_ptr<BenchCase> prepared_;
};

int Serve(std::size_t num_threads, PathChoice path) {
  Worker worker(num_threads, path);
  for (std::string line; std::getline(std::cin, line);) {
    nlohmann::json answer;
    try {
      answer = worker.Answer(nlohmann::json::parse(line));
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace attention::bench

int main(int argc, char** argv) {
  const std::map<std::string_view, attention::PathChoice> paths = {
      {"auto", attention::PathChoice::kAuto},
      {"fused", attention::PathChoice::kFused},
      {"primitives", attention::PathChoice::kPrimitives}};
  const int num_threads = argc >= 2 ? std::atoi(argv[1]) : 0;
  const auto path = paths.find(argc == 3 ? argv[2] : "auto");
  if (num_threads < 1 || argc > 3 || path == paths.end()) {
    std::cerr << "usage: core_bench_worker THREADS [auto|fused|primitives]\n";
    return EXIT_FAILURE;
  }
  return attention::bench::Serve(static_cast<std::size_t>(num_threads),
                                 path->second);
}
