// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/core/matmul_peak.h"

#include <cstring>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/engine/compute_path.h"
#include "core/engine/make_layer.h"
#include "core/onednn/compute_thread.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/tensor.h"
#include "tests/bench/core/slot.h"

namespace attention::bench {
namespace {

constexpr SlotLimits kLimits = {
    .seconds = 1.0, .min_calls = 2, .max_seconds = 3.0};

// The product on this machine, or an empty descriptor where oneDNN has none.
dnnl::matmul::primitive_desc DescribeMatmul(const MatmulSize& size,
                                            dnnl::memory::data_type dtype,
                                            const dnnl::engine& engine) {
  using Tag = dnnl::memory::format_tag;
  return {engine,
          dnnl::memory::desc({size.rows, size.depth}, dtype, Tag::ab),
          dnnl::memory::desc({size.depth, size.columns}, dtype, Tag::any),
          dnnl::memory::desc({size.rows, size.columns},
                             dnnl::memory::data_type::f32, Tag::ab),
          dnnl::primitive_attr(),
          /*allow_empty=*/true};
}

// One thread's operands.
class Matmul {
 public:
  Matmul(const dnnl::matmul::primitive_desc& desc, const dnnl::engine& engine)
      : primitive_(desc),
        src_(desc.src_desc(), engine),
        weights_(desc.weights_desc(), engine),
        dst_(desc.dst_desc(), engine),
        stream_(engine) {
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
  dnnl::matmul primitive_;
  dnnl::memory src_, weights_, dst_;
  dnnl::stream stream_;
};

// Operations per second of `num_products` products by `work`.
double MeasureFlops(const MatmulSize& size, std::size_t num_products,
                    const std::function<void()>& work) {
  constexpr double kMicrosecond = 1e-6;
  const double operations = 2.0 * static_cast<double>(size.rows) *
                            static_cast<double>(size.depth) *
                            static_cast<double>(size.columns);
  const SlotResult slot = MeasureSlot(kLimits, work);
  return operations * static_cast<double>(num_products) /
         (slot.fastest_us * kMicrosecond);
}

std::optional<MatmulPeak> MeasureOnednn(const MatmulSize& size, DataType dtype,
                                        ComputePool& pool) {
  const ComputeThreadScope scope;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const auto desc = DescribeMatmul(size,
                                   dtype == DataType::kBFloat16
                                       ? dnnl::memory::data_type::bf16
                                       : dnnl::memory::data_type::f32,
                                   engine);
  if (!desc) return std::nullopt;
  std::vector<Matmul> matmuls;
  for (std::size_t i = 0; i < pool.num_threads(); ++i) {
    matmuls.emplace_back(desc, engine);
  }
  const auto work = [&] {
    pool.Run(static_cast<std::int64_t>(matmuls.size()),
             [&](std::int64_t item, std::size_t) {
               const ComputeThreadScope thread;
               matmuls[static_cast<std::size_t>(item)].Execute();
             });
  };
  return MatmulPeak{"oneDNN's matmul",
                    MeasureFlops(size, matmuls.size(), work)};
}

MatmulPeak MeasureLinear(const MatmulSize& size, DataType dtype,
                         ComputePool& pool) {
  const ComputePath path = BestComputePath(dtype);
  const LinearWeights weights = {
      RandomTensor(DataType::kFloat32, {size.columns, size.depth}, /*seed=*/1),
      std::nullopt};
  const auto layer = MakeLinearLayer(path, weights, std::nullopt);
  const Tensor input =
      RandomTensor(DataType::kFloat32, {size.rows, size.depth}, /*seed=*/2);
  Tensor output(DataType::kFloat32, {size.rows, size.columns});
  const auto* x = reinterpret_cast<const float*>(input.view().data);
  auto* y = reinterpret_cast<float*>(output.mutable_view().data);
  const auto work = [&] {
    const absl::Status status = layer->Compute(x, size.rows, y, pool);
    if (!status.ok()) throw std::runtime_error(status.ToString());
  };
  return {"linear layer, " + std::string(path.name()) + " in " +
              std::string(DataTypeName(path.dtype)),
          MeasureFlops(size, 1, work)};
}

}  // namespace

std::vector<MatmulPeak> MeasureMatmulPeaks(const MatmulSize& size,
                                           DataType dtype, ComputePool& pool) {
  std::vector<MatmulPeak> peaks = {MeasureLinear(size, dtype, pool)};
  if (const auto onednn = MeasureOnednn(size, dtype, pool)) {
    peaks.push_back(*onednn);
  }
  return peaks;
}

}  // namespace attention::bench
