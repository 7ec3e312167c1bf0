// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/projection.h"

#include <algorithm>
#include <tuple>

#include "core/onednn/shared_kernels.h"
#include "core/tensor/convert.h"
#include "core/tensor/floats.h"
#include "core/tensor/round_up.h"

namespace attention {
namespace {

using Desc = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;
constexpr auto kF32 = dnnl::memory::data_type::f32;

// Columns of a slice: with up to 4,096 input columns its weights stay in a
// core's L2 cache while the tiles pass by.
constexpr std::int64_t kSliceWidth = 256;

// Width of the slice that begins with `left` columns to go. Never is one column
// left over beside others: a matmul into one column ignores the stride of its
// destination's rows (oneDNN 3.7).
std::int64_t SliceWidth(std::int64_t left) {
  if (left == kSliceWidth + 1) return kSliceWidth - 1;
  return std::min(kSliceWidth, left);
}

bool AreConsecutive(std::span<const std::int64_t> rows) {
  return rows.back() - rows.front() ==
             static_cast<std::int64_t>(rows.size()) - 1 &&
         std::ranges::is_sorted(rows);
}

// relu is none of oneDNN's, which makes 0 of NaN: see ApplyRelu.
std::optional<MatmulKernel::Eltwise> EltwiseOf(
    std::optional<Activation> activation) {
  if (activation != Activation::kGelu) return std::nullopt;
  return MatmulKernel::Eltwise{.algorithm = dnnl::algorithm::eltwise_gelu_erf};
}

// max(x, 0), where NaN stays NaN.
void ApplyRelu(std::span<float> row) {
  for (float& x : row) x = x < 0.0F ? 0.0F : x;
}

// Reorder columns [0, width) of W^T, given as rows of W, for a kernel.
AlignedBuffer Pack(const float* weight, std::int64_t in, std::int64_t width,
                   const Desc& packed_desc) {
  AlignedBuffer packed(packed_desc.get_size());
  // W is [out, in]; a matmul wants [in, out]: the same memory, transposed.
  dnnl::memory from(Desc({in, width}, kF32, Tag::ba), CpuEngine(),
                    const_cast<float*>(weight));
  dnnl::memory to(packed_desc, CpuEngine(), packed.data());
  dnnl::stream stream(CpuEngine());
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
  return packed;
}

}  // namespace

// The kernels of every height for one width of slice. The first sees to it
// that all take their weights in one layout.
std::shared_ptr<const std::vector<MatmulKernel>> Projection::CompileKernels(
    std::int64_t width) const {
  using Kernels = std::vector<MatmulKernel>;
  const auto compile = [&](std::int64_t height, const Desc& weights) {
    MatmulKernel::Descs descs{
        .src = Desc({height, in_}, kF32, Tag::ab),
        .weights = weights,
        .dst = Desc({height, width}, kF32, dnnl::memory::dims{out_, 1}),
        .bias = {},
        .eltwise = EltwiseOf(activation_)};
    if (!bias_.empty()) descs.bias = Desc({1, width}, kF32, Tag::ab);
    return MatmulKernel(descs);
  };
  // in, out, width, whether there is a bias, whether there is a gelu
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, bool>;
  static SharedKernels<Key, Kernels> shared;
  const Key key = {in_, out_, width, !bias_.empty(),
                   activation_ == Activation::kGelu};
  return shared.Get(key, [&] {
    Kernels kernels;
    kernels.reserve(kTileHeights.size());
    const Desc packed =
        compile(kTileRows, Desc({in_, width}, kF32, Tag::any)).weights_desc();
    for (const std::int64_t height : kTileHeights) {
      kernels.push_back(compile(height, packed));
    }
    return kernels;
  });
}

Projection::Projection(const LinearWeights& weights,
                       std::optional<Activation> activation)
    : in_(weights.weight.shape().dim(1)),
      out_(weights.weight.shape().dim(0)),
      activation_(activation) {
  const std::vector<float> weight = ToFloats(weights.weight);
  bias_ = ToFloats(weights.bias);
  for (std::int64_t first = 0; first < out_; first += slices_.back().width) {
    AddSlice(weight, first, SliceWidth(out_ - first));
  }
  for (const Slice& slice : slices_) {
    for (const MatmulKernel& kernel : *slice.kernels) {
      kernel_scratch_bytes_ =
          std::max(kernel_scratch_bytes_, kernel.scratchpad_bytes());
    }
    memory_bytes_ += slice.weights.size();
  }
  memory_bytes_ += bias_.size() * sizeof(float);
  kernel_scratch_bytes_ = RoundUp(kernel_scratch_bytes_, kTensorAlignment);
  scratch_bytes_ =
      kernel_scratch_bytes_ +
      static_cast<std::size_t>(kTileRows * (in_ + out_)) * sizeof(float) +
      kTensorAlignment;
}

void Projection::AddSlice(const std::vector<float>& weight, std::int64_t first,
                          std::int64_t width) {
  Slice slice;
  slice.first = first;
  slice.width = width;
  slice.kernels = !slices_.empty() && slices_.back().width == width
                      ? slices_.back().kernels
                      : CompileKernels(width);
  slice.weights = Pack(weight.data() + first * in_, in_, width,
                       slice.kernels->front().weights_desc());
  slices_.push_back(std::move(slice));
}

std::int64_t Projection::num_items(const ProjectionRows& rows) const {
  const auto num_rows = static_cast<std::int64_t>(rows.sources.size());
  return (num_rows + kTileRows - 1) / kTileRows *
         static_cast<std::int64_t>(slices_.size());
}

void Projection::Compute(const ProjectionRows& rows, std::int64_t item,
                         std::byte* scratch) const {
  const auto num_rows = static_cast<std::int64_t>(rows.sources.size());
  const std::int64_t num_tiles = (num_rows + kTileRows - 1) / kTileRows;
  // Slice by slice, so that one slice's weights stay in cache.
  const Slice& slice = slices_[static_cast<std::size_t>(item / num_tiles)];
  Tile tile;
  tile.first = item % num_tiles * kTileRows;
  tile.count = std::min(kTileRows, num_rows - tile.first);
  tile.height = TileHeight(tile.count);

  auto* gathered = reinterpret_cast<float*>(scratch + kernel_scratch_bytes_);
  float* computed = gathered + kTileRows * in_;
  const auto first = static_cast<std::size_t>(tile.first);
  const bool in_place = rows.output.dtype == DataType::kFloat32 &&
                        tile.count == tile.height &&
                        AreConsecutive(rows.targets.subspan(
                            first, static_cast<std::size_t>(tile.count)));
  float* target = computed;
  if (in_place) {
    target = reinterpret_cast<float*>(rows.output.data) +
             rows.targets[first] * out_ + slice.first;
  }
  (*slice.kernels)[TileHeightIndex(tile.count)].Execute(
      {.src = Gather(rows, tile, gathered),
       .weights = slice.weights.data(),
       .dst = target,
       .bias = bias_.empty() ? nullptr : bias_.data() + slice.first,
       .scratchpad = scratch});
  if (activation_ == Activation::kRelu) {
    for (std::int64_t i = 0; i < tile.count; ++i) {
      ApplyRelu({target + i * out_, static_cast<std::size_t>(slice.width)});
    }
  }
  if (!in_place) Scatter(rows, tile, slice, computed);
}

const float* Projection::Gather(const ProjectionRows& rows, const Tile& tile,
                                float* scratch) const {
  const auto sources =
      rows.sources.subspan(static_cast<std::size_t>(tile.first),
                           static_cast<std::size_t>(tile.count));
  const auto width = static_cast<std::size_t>(in_);
  const std::size_t row_bytes = width * DataTypeSize(rows.input.dtype);
  const auto row = [&](std::int64_t index) {
    return rows.input.data + static_cast<std::size_t>(index) * row_bytes;
  };
  if (rows.input.dtype == DataType::kFloat32 && tile.count == tile.height &&
      AreConsecutive(sources)) {
    return reinterpret_cast<const float*>(row(sources.front()));
  }
  float* target = scratch;
  for (const std::int64_t source : sources) {
    LoadReals(rows.input.dtype, row(source), width, target);
    target += width;
  }
  std::fill(target, scratch + tile.height * in_, 0.0F);
  return scratch;
}

void Projection::Scatter(const ProjectionRows& rows, const Tile& tile,
                         const Slice& slice, const float* scratch) const {
  const std::size_t element_size = DataTypeSize(rows.output.dtype);
  for (std::int64_t i = 0; i < tile.count; ++i) {
    const std::int64_t target =
        rows.targets[static_cast<std::size_t>(tile.first + i)];
    StoreReals(scratch + i * out_, static_cast<std::size_t>(slice.width),
               rows.output.dtype,
               rows.output.data +
                   static_cast<std::size_t>(target * out_ + slice.first) *
                       element_size);
  }
}

}  // namespace attention
