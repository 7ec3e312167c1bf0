// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/core/matmul_peak.h"

#include <algorithm>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "core/onednn/compute_thread.h"
#include "core/tensor/tensor.h"
#include "tests/bench/core/slot.h"

namespace attention::bench {
namespace {

constexpr std::int64_t kSize = 1024;
constexpr double kOperations = 2.0 * kSize * kSize * kSize;
constexpr int kTries = 7;
constexpr double kSecondsPerTry = 0.15;

// One thread's operands.
class Matmul {
 public:
  explicit Matmul(dnnl::memory::data_type dtype)
      : engine_(dnnl::engine::kind::cpu, 0),
        desc_(engine_, {{kSize, kSize}, dtype, dnnl::memory::format_tag::ab},
              {{kSize, kSize}, dtype, dnnl::memory::format_tag::any},
              {{kSize, kSize},
               dnnl::memory::data_type::f32,
               dnnl::memory::format_tag::ab}),
        primitive_(desc_),
        src_(desc_.src_desc(), engine_),
        weights_(desc_.weights_desc(), engine_),
        dst_(desc_.dst_desc(), engine_),
        stream_(engine_) {
    for (const dnnl::memory& memory : {src_, weights_}) {
      std::memset(memory.get_data_handle(), 0, memory.get_desc().get_size());
    }
  }

  void Execute() {
    primitive_.execute(stream_, {{DNNL_ARG_SRC, src_},
                                 {DNNL_ARG_WEIGHTS, weights_},
                                 {DNNL_ARG_DST, dst_}});
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::matmul::primitive_desc desc_;
  dnnl::matmul primitive_;
  dnnl::memory src_, weights_, dst_;
  dnnl::stream stream_;
};

// Seconds that `repetitions` matmuls take on every thread at once.
double TimeMatmuls(std::vector<Matmul>& matmuls, int repetitions,
                   ComputePool& pool) {
  const double start = NowSeconds();
  pool.Run(static_cast<std::int64_t>(matmuls.size()),
           [&](std::int64_t item, std::size_t) {
             const ComputeThreadScope scope;
             for (int i = 0; i < repetitions; ++i) {
               matmuls[static_cast<std::size_t>(item)].Execute();
             }
           });
  return NowSeconds() - start;
}

}  // namespace

double MeasureMatmulPeak(DataType dtype, ComputePool& pool) {
  const ComputeThreadScope scope;
  std::vector<Matmul> matmuls;
  for (std::size_t i = 0; i < pool.num_threads(); ++i) {
    matmuls.emplace_back(dtype == DataType::kBFloat16
                             ? dnnl::memory::data_type::bf16
                             : dnnl::memory::data_type::f32);
  }
  TimeMatmuls(matmuls, 1, pool);
  const int repetitions = std::max(
      1, static_cast<int>(kSecondsPerTry / TimeMatmuls(matmuls, 1, pool)));
  double peak = 0.0;
  for (int i = 0; i < kTries; ++i) {
    const double seconds = TimeMatmuls(matmuls, repetitions, pool);
    const auto count = static_cast<double>(matmuls.size()) * repetitions;
    peak = std::max(peak, count * kOperations / seconds);
  }
  return peak;
}

}  // namespace attention::bench
