// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/primitive_linear.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <tuple>

#include "core/onednn/compute_thread.h"
#include "core/onednn/for_each_item.h"
#include "core/onednn/primitives.h"
#include "core/onednn/shared_kernels.h"
#include "core/tensor/floats.h"

namespace attention {
namespace {

using Desc = dnnl::memory::desc;

// Floats of the rows of a tile, whole cache lines.
std::int64_t TileFloats(std::int64_t width) { return kTileRows * width; }

// W^T [in, out] as rows of W.
Desc Transposed(std::int64_t in, std::int64_t out) {
  return Strided({in, out}, {1, in});
}

// max(x, 0), where NaN stays NaN, of which oneDNN's makes 0.
void ApplyRelu(std::span<float> y) {
  for (float& value : y) value = value < 0.0F ? 0.0F : value;
}

}  // namespace

struct PrimitiveLinear::Matmuls {
  std::vector<Primitive> all;  // one of each of kTileHeights
};

PrimitiveLinear::PrimitiveLinear(const LinearWeights& weights,
                                 std::optional<Activation> activation)
    : in_(weights.weight.shape().dim(1)),
      out_(weights.weight.shape().dim(0)),
      activation_(activation),
      bias_(ToFloats(weights.bias)) {
  // in, out, whether there is a bias, whether there is a gelu
  using Key = std::tuple<std::int64_t, std::int64_t, bool, bool>;
  static SharedKernels<Key, Matmuls> shared;
  matmuls_ = shared.Get(
      Key{in_, out_, !bias_.empty(), activation == Activation::kGelu},
      [&] { return Compile(); });
  const Desc packed = matmuls_->all.front().desc(DNNL_ARG_WEIGHTS);
  weight_ = AlignedBuffer(packed.get_size());
  Reorder(Transposed(in_, out_), ToFloats(weights.weight).data(), packed,
          weight_.data());
}

// The highest says in which layout all take their weight.
PrimitiveLinear::Matmuls PrimitiveLinear::Compile() const {
  MatmulDescs descs;
  descs.weights = Desc({in_, out_}, dnnl::memory::data_type::f32,
                       dnnl::memory::format_tag::any);
  if (!bias_.empty()) descs.bias = Dense({1, out_});
  if (activation_ == Activation::kGelu) {
    descs.eltwise = dnnl::algorithm::eltwise_gelu_erf;
  }
  const auto compile = [&](std::int64_t height) {
    descs.src = Dense({height, in_});
    descs.dst = Dense({height, out_});
    return MakeMatmul(descs);
  };
  descs.weights = compile(kTileRows).desc(DNNL_ARG_WEIGHTS);
  Matmuls matmuls;
  std::ranges::transform(kTileHeights, std::back_inserter(matmuls.all),
                         compile);
  return matmuls;
}

std::size_t PrimitiveLinear::scratch_bytes() const {
  std::size_t scratchpad_bytes = 0;
  if (matmuls_ != nullptr) {
    for (const Primitive& matmul : matmuls_->all) {
      scratchpad_bytes = std::max(scratchpad_bytes, matmul.scratchpad_bytes());
    }
  }
  return static_cast<std::size_t>(TileFloats(in_ + out_)) * sizeof(float) +
         scratchpad_bytes;
}

void PrimitiveLinear::ComputeTile(const RowTile& tile,
                                  absl::FunctionRef<void(float*)> read,
                                  absl::FunctionRef<void(const float*)> write,
                                  std::byte* scratch) const {
  auto* x = reinterpret_cast<float*>(scratch);
  read(x);
  if (matmuls_ == nullptr) return write(x);
  std::fill(x + tile.num_rows * in_, x + tile.height * in_, 0.0F);
  float* y = x + TileFloats(in_);
  float* scratchpad = y + TileFloats(out_);
  matmuls_->all[TileHeightIndex(tile.height)].Execute(
      {{DNNL_ARG_SRC, x},
       {DNNL_ARG_WEIGHTS, weight_.data()},
       {DNNL_ARG_BIAS, bias_.empty() ? nullptr : bias_.data()},
       {DNNL_ARG_DST, y}},
      reinterpret_cast<std::byte*>(scratchpad));
  if (activation_ == Activation::kRelu) {
    ApplyRelu({y, static_cast<std::size_t>(tile.num_rows * out_)});
  }
  write(y);
}

absl::Status PrimitiveLinear::Compute(const float* x, std::int64_t num_rows,
                                      float* y, ComputePool& pool) const {
  const RowTiles tiles(num_rows);
  return ForEachItem(
      pool, tiles.count(), scratch_bytes(),
      [&](std::int64_t item, std::size_t, std::byte* scratch) {
        const RowTile tile = tiles[item];
        ComputeTile(
            tile,
            [&](float* to) {
              std::copy_n(x + tile.first * in_, tile.num_rows * in_, to);
            },
            [&](const float* from) {
              std::copy_n(from, tile.num_rows * out_, y + tile.first * out_);
            },
            scratch);
      });
}

LinearWeights PrimitiveLinear::Unpack() const {
  LinearWeights weights;
  if (matmuls_ == nullptr) return weights;
  const ComputeThreadScope scope;
  weights.weight = Tensor(DataType::kFloat32, {out_, in_});
  Reorder(matmuls_->all.front().desc(DNNL_ARG_WEIGHTS), weight_.data(),
          Transposed(in_, out_), weights.weight.mutable_view().data);
  weights.bias = ToTensor(bias_);
  return weights;
}

}  // namespace attention
