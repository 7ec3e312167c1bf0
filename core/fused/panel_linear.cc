// SPDX-License-Identifier: Apache-2.0
#include "core/fused/panel_linear.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/onednn/for_each_item.h"
#include "core/onednn/shared_kernels.h"
#include "core/onednn/tile.h"
#include "core/simd/convert.h"
#include "core/simd/multiply.h"
#include "core/tensor/convert.h"
#include "core/tensor/floats.h"
#include "core/tensor/round_up.h"

namespace attention {
namespace {

// What the width of a panel is a multiple of: Multiply and ukernels ask for it.
constexpr std::int64_t kLanes = 16;
constexpr std::size_t kSumsBytes =
    kTileRows * PanelLinear::kPanelWidth * sizeof(float);

Epilogue EpilogueOf(std::optional<Activation> activation) {
  if (!activation) return Epilogue::kNone;
  return *activation == Activation::kRelu ? Epilogue::kRelu : Epilogue::kGelu;
}

// bfloat16 takes inputs by pairs.
std::int64_t DepthOf(const LinearWeights& weights, DataType dtype) {
  const std::int64_t in = weights.weight.shape().dim(1);
  return dtype == DataType::kBFloat16 ? RoundUp<std::int64_t>(in, 2) : in;
}

std::int64_t NumTiles(std::int64_t num_rows) {
  return (num_rows + kTileRows - 1) / kTileRows;
}

}  // namespace

PanelLinear::PanelLinear(const LinearWeights& weights, DataType dtype,
                         std::optional<Activation> activation,
                         WeightMemory& memory)
    : dtype_(dtype),
      element_size_(DataTypeSize(dtype)),
      in_(weights.weight.shape().dim(1)),
      depth_(DepthOf(weights, dtype)),
      out_(weights.weight.shape().dim(0)),
      strip_(dtype == DataType::kFloat32 ? MultiplyStrip() : kPanelWidth),
      epilogue_(EpilogueOf(activation)),
      has_bias_(weights.bias.has_value()),
      bias_(ToFloats(weights.bias)),
      panel_bytes_(PanelBytes(weights, dtype)),
      panels_(memory.Take(panel_bytes_)) {
  bias_.resize(static_cast<std::size_t>(out_));
  if (dtype == DataType::kBFloat16) {
    if (out_ >= kPanelWidth) full_kernels_ = Compile(kPanelWidth);
    if (const std::int64_t last = out_ % kPanelWidth; last > 0) {
      last_kernels_ = Compile(RoundUp(last, kLanes));
    }
  }
  Pack(ToFloats(weights.weight));
}

std::size_t PanelLinear::PanelBytes(const LinearWeights& weights,
                                    DataType dtype) {
  return static_cast<std::size_t>(
             RoundUp(weights.weight.shape().dim(0), kLanes) *
             DepthOf(weights, dtype)) *
         DataTypeSize(dtype);
}

PanelLinear::Kernels PanelLinear::Compile(std::int64_t width) const {
  static SharedKernels<Brgemm::Shape, Brgemm> shared;
  Kernels kernels;
  for (std::int64_t first = 0; first < depth_; first += kMaxDepth) {
    const Brgemm::Shape shape = {.columns = width,
                                 .depth = std::min(kMaxDepth, depth_ - first),
                                 .lda = depth_,
                                 .ldb = width,
                                 .ldc = kPanelWidth,
                                 .accumulate = first > 0};
    kernels.push_back(shared.Get(shape, [&] { return Brgemm(shape); }));
  }
  return kernels;
}

// Element (k, n) of a strip of `width` columns lies at k * width + n; with
// bfloat16, where a strip is a panel and two k make a pair, at
// (k / 2) * 2 width + 2 n + k mod 2.
std::size_t PanelLinear::PlaceOf(std::int64_t k, std::int64_t n) const {
  const std::int64_t first = n / strip_ * strip_;
  const std::int64_t width = std::min(strip_, RoundUp(out_, kLanes) - first);
  const std::int64_t in_strip =
      dtype_ == DataType::kFloat32
          ? k * width + (n - first)
          : k / 2 * 2 * width + 2 * (n - first) + k % 2;
  return static_cast<std::size_t>(first * depth_ + in_strip);
}

void PanelLinear::Pack(const std::vector<float>& weight) {
  std::memset(panels_.get(), 0, panel_bytes_);
  auto* floats = reinterpret_cast<float*>(panels_.get());
  auto* halves = reinterpret_cast<std::uint16_t*>(panels_.get());
  const float* from = weight.data();
  for (std::int64_t n = 0; n < out_; ++n) {
    for (std::int64_t k = 0; k < in_; ++k, ++from) {
      if (dtype_ == DataType::kFloat32) {
        floats[PlaceOf(k, n)] = *from;
      } else {
        halves[PlaceOf(k, n)] = FloatToBFloat16(*from);
      }
    }
  }
}

LinearWeights PanelLinear::Unpack() const {
  Tensor weight(DataType::kFloat32, Shape{out_, in_});
  float* to = weight.data<float>().data();
  for (std::int64_t n = 0; n < out_; ++n) {
    for (std::int64_t k = 0; k < in_; ++k, ++to) {
      LoadReals(dtype_, panels_.get() + PlaceOf(k, n) * element_size_, 1, to);
    }
  }
  LinearWeights weights{std::move(weight), {}};
  if (has_bias_) weights.bias = ToTensor(bias_);
  return weights;
}

std::int64_t PanelLinear::num_panels() const {
  return (out_ + kPanelWidth - 1) / kPanelWidth;
}

// A tile's rows stay in cache while panels pass by, and are converted once for
// all of them, so the more the better, up to what leaves every thread with
// several items, and none waiting long for another's last one.
std::int64_t PanelLinear::PanelsPerItem(std::int64_t num_rows) const {
  const std::int64_t enough_items = dtype_ == DataType::kFloat32 ? 64 : 16;
  constexpr std::int64_t kMostPanels = 12;
  return std::clamp<std::int64_t>(
      NumTiles(num_rows) * num_panels() / enough_items, 1, kMostPanels);
}

std::int64_t PanelLinear::num_items(std::int64_t num_rows) const {
  const std::int64_t panels = PanelsPerItem(num_rows);
  return NumTiles(num_rows) * ((num_panels() + panels - 1) / panels);
}

RowRange PanelLinear::RowsOf(std::int64_t num_rows, std::int64_t item) {
  const std::int64_t first = item % NumTiles(num_rows) * kTileRows;
  return {first, std::min(kTileRows, num_rows - first)};
}

void PanelLinear::Compute(const RowSource& input, std::int64_t item,
                          const PatchSink& sink, std::byte* scratch) const {
  const std::int64_t panels = PanelsPerItem(input.num_rows());
  const std::int64_t first_panel = item / NumTiles(input.num_rows()) * panels;
  const std::int64_t end = std::min(first_panel + panels, num_panels());
  const RowRange item_rows = RowsOf(input.num_rows(), item);

  auto* sums = reinterpret_cast<float*>(scratch);
  const std::byte* data = FindRows(input, item_rows);
  if (data == nullptr) data = CopyRows(input, item_rows, scratch + kSumsBytes);
  const TileRows rows = {data, item_rows.count};
  for (std::int64_t index = first_panel; index < end; ++index) {
    const Panel panel = PanelAt(index);
    if (ComputeInPlace(panel, item_rows.first, rows, sink)) continue;
    ComputeSums(panel, rows, sums);
    sink.Store(item_rows.first, panel.column,
               {.values = sums,
                .stride = kPanelWidth,
                .rows = rows.count,
                .columns = std::min(kPanelWidth, out_ - panel.column),
                .bias = bias_.data() + panel.column});
  }
}

PanelLinear::Panel PanelLinear::PanelAt(std::int64_t index) const {
  const std::int64_t column = index * kPanelWidth;
  return {.column = column,
          .width = std::min(kPanelWidth, RoundUp(out_ - column, kLanes)),
          .weights = panels_.get() +
                     static_cast<std::size_t>(column * depth_) * element_size_};
}

bool PanelLinear::ComputeInPlace(const Panel& panel, std::int64_t row,
                                 const TileRows& rows,
                                 const PatchSink& sink) const {
  if (dtype_ != DataType::kFloat32 || panel.column + panel.width > out_) {
    return false;
  }
  const PatchSink::Place place =
      sink.Accept(row, panel.column, rows.count, panel.width);
  if (place.values == nullptr) return false;
  MultiplyFloats(panel, rows, bias_.data() + panel.column, place);
  return true;
}

void PanelLinear::ComputeSums(const Panel& panel, const TileRows& rows,
                              float* sums) const {
  if (dtype_ == DataType::kFloat32) {
    return MultiplyFloats(panel, rows, nullptr, {sums, kPanelWidth});
  }
  const auto* from = reinterpret_cast<const std::uint16_t*>(rows.data);
  const auto* weights = reinterpret_cast<const std::uint16_t*>(panel.weights);
  const bool full = panel.column + kPanelWidth <= out_;
  for (const auto& kernel : full ? full_kernels_ : last_kernels_) {
    kernel->Execute(rows.count, from, weights, sums);
    from += kMaxDepth;
    weights += kMaxDepth * panel.width;
  }
}

void PanelLinear::MultiplyFloats(const Panel& panel, const TileRows& rows,
                                 const float* bias,
                                 const PatchSink::Place& to) const {
  const std::int64_t width = std::min(strip_, panel.width);
  for (std::int64_t first = 0; first < depth_; first += kMaxDepth) {
    const std::int64_t depth = std::min(kMaxDepth, depth_ - first);
    Multiply(
        {.rows = rows.count,
         .columns = panel.width,
         .depth = depth,
         .a = reinterpret_cast<const float*>(rows.data) + first,
         .lda = depth_,
         .b = reinterpret_cast<const float*>(panel.weights) + first * width,
         .ldb = width,
         .c = to.values,
         .ldc = to.stride,
         .strip_step = width * depth_,
         .accumulate = first > 0,
         .bias = first + depth == depth_ ? bias : nullptr});
  }
}

// Rows as [count, depth] of the compute dtype where they lie, if they lie so.
const std::byte* PanelLinear::FindRows(const RowSource& input,
                                       const RowRange& rows) const {
  const std::byte* data = nullptr;
  const std::byte* end = nullptr;
  if (in_ != depth_) return nullptr;
  for (std::int64_t row = 0; row < rows.count;) {
    const RowSource::Run run = input.RunAt(rows.first + row, rows.count - row);
    if (run.rows.dtype != dtype_ || !run.rows.are_packed(in_) ||
        (row > 0 && run.rows.data != end)) {
      return nullptr;
    }
    if (row == 0) data = run.rows.data;
    end = run.rows.row(run.count);
    row += run.count;
  }
  return data;
}

// The same as a copy.
const std::byte* PanelLinear::CopyRows(const RowSource& input,
                                       const RowRange& rows,
                                       std::byte* scratch) const {
  std::byte* to = scratch;
  ForEachRun(input, rows, [&](const RowSource::Run& run, std::int64_t) {
    for (std::int64_t i = 0; i < run.count; ++i) {
      LoadRow(run.rows.dtype, run.rows.row(i), in_, {to, dtype_, depth_});
      to += static_cast<std::size_t>(depth_) * element_size_;
    }
  });
  return scratch;
}

absl::Status PanelLinear::Compute(const float* x, std::int64_t num_rows,
                                  float* y, ComputePool& pool) const {
  Rows from;
  from.data = reinterpret_cast<const std::byte*>(x);
  from.step = in_;
  MutableRows to;
  to.data = reinterpret_cast<std::byte*>(y);
  to.step = out_;
  const MatrixRows input(from, num_rows);
  const MatrixSink sink(to, epilogue_);
  return ForEachItem(pool, num_items(num_rows), scratch_bytes(),
                     [&](std::int64_t item, std::size_t, std::byte* scratch) {
                       Compute(input, item, sink, scratch);
                     });
}

// The sums of a tile, and its rows.
std::size_t PanelLinear::scratch_bytes() const {
  return kSumsBytes +
         static_cast<std::size_t>(kTileRows * depth_) * element_size_;
}

std::size_t PanelLinear::memory_bytes() const {
  return panel_bytes_ + bias_.size() * sizeof(float);
}

}  // namespace attention
