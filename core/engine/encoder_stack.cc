// SPDX-License-Identifier: Apache-2.0
#include "core/engine/encoder_stack.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "core/attention/dropout.h"
#include "core/attention/layer.h"
#include "core/engine/make_layer.h"
#include "core/onednn/compute_rows.h"
#include "core/onednn/for_each_item.h"
#include "core/onednn/tile.h"
#include "core/tensor/convert.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Rows that go through the feed-forward network together: enough to feed every
// thread, few enough that the network's inner width costs little memory.
constexpr std::int64_t kFeedForwardRows = 16 * kTileRows;

std::int64_t NumRows(const PackedBatch& batch) {
  return batch.query.shape.num_elements() / batch.query.shape.back();
}

// A query position: a row of the request.
struct RowPlace {
  const Sequence* sequence = nullptr;
  std::int64_t position = 0;
};

}  // namespace

// One forward pass.
class EncoderStack::Pass {
 public:
  // Throws std::bad_alloc.
  Pass(const EncoderStack& encoder, const PackedBatch& batch, ComputePool& pool)
      : encoder_(encoder),
        width_(encoder.width_),
        batch_(batch),
        pool_(pool),
        num_rows_(NumRows(batch)),
        row_numbers_(static_cast<std::size_t>(num_rows_)),
        memory_(pool, encoder.PassFloats(num_rows_) * sizeof(float)),
        x_(reinterpret_cast<float*>(memory_.data())),
        y_(x_ + num_rows_ * width_),
        inner_(y_ + num_rows_ * width_) {
    std::iota(row_numbers_.begin(), row_numbers_.end(), std::int64_t{0});
    FindPlaces();
  }

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute(const TensorView& input,
                       const MutableTensorView& output) {
    ATTENTION_RETURN_IF_ERROR(Load(input));
    for (const std::unique_ptr<const Layer>& layer : encoder_.layers_) {
      ATTENTION_RETURN_IF_ERROR(encoder_.spec_.norm_first
                                    ? ComputePreNorm(*layer)
                                    : ComputePostNorm(*layer));
      ++batch_.layer;
    }
    if (encoder_.final_norm_) {
      ATTENTION_RETURN_IF_ERROR(Normalize(*encoder_.final_norm_, x_));
    }
    return Store(output);
  }

 private:
  // x = norm1(x + SA(x)); x = norm2(x + FF(x))
  absl::Status ComputePostNorm(const Layer& layer) {
    ATTENTION_RETURN_IF_ERROR(Attend(layer, x_));
    ATTENTION_RETURN_IF_ERROR(Add(DropoutSite::kAttention));
    ATTENTION_RETURN_IF_ERROR(Normalize(layer.norm1, x_));
    ATTENTION_RETURN_IF_ERROR(FeedForward(layer, x_));
    ATTENTION_RETURN_IF_ERROR(Add(DropoutSite::kFeedForward));
    return Normalize(layer.norm2, x_);
  }

  // x = x + SA(norm1(x)); x = x + FF(norm2(x))
  absl::Status ComputePreNorm(const Layer& layer) {
    ATTENTION_RETURN_IF_ERROR(Normalize(layer.norm1, y_));
    ATTENTION_RETURN_IF_ERROR(Attend(layer, y_));
    ATTENTION_RETURN_IF_ERROR(Add(DropoutSite::kAttention));
    ATTENTION_RETURN_IF_ERROR(Normalize(layer.norm2, y_));
    ATTENTION_RETURN_IF_ERROR(FeedForward(layer, y_));
    return Add(DropoutSite::kFeedForward);
  }

  // x = input
  absl::Status Load(const TensorView& input) {
    return ForEachTile(
        /*scratch_bytes=*/0,
        [&](std::int64_t first, std::int64_t count, std::byte*) {
          LoadReals(input.dtype, input.data + OffsetOf(first, input.dtype),
                    static_cast<std::size_t>(count * width_),
                    x_ + first * width_);
        });
  }

  // output = x
  absl::Status Store(const MutableTensorView& output) {
    return ForEachTile(
        /*scratch_bytes=*/0,
        [&](std::int64_t first, std::int64_t count, std::byte*) {
          StoreReals(x_ + first * width_,
                     static_cast<std::size_t>(count * width_), output.dtype,
                     output.data + OffsetOf(first, output.dtype));
        });
  }

  // Bytes before row `row` of the request.
  std::size_t OffsetOf(std::int64_t row, DataType dtype) const {
    return static_cast<std::size_t>(row * width_) * DataTypeSize(dtype);
  }

  // Only dropout asks which query position a row is.
  void FindPlaces() {
    if (batch_.dropout == 0.0) return;
    places_.resize(static_cast<std::size_t>(num_rows_));
    for (const Sequence& sequence : batch_.sequences) {
      for (std::int64_t i = 0; i < sequence.query_length; ++i) {
        places_[static_cast<std::size_t>(sequence.query_row(i))] = {&sequence,
                                                                    i};
      }
    }
  }

  MutableTensorView Rows(float* data) const {
    return {reinterpret_cast<std::byte*>(data), DataType::kFloat32,
            Shape{num_rows_, width_}};
  }

  // Call `work(first, count, scratch)` for every tile of rows.
  template <typename Work>
  absl::Status ForEachTile(std::size_t scratch_bytes, const Work& work) {
    return ForEachItem(
        pool_, (num_rows_ + kTileRows - 1) / kTileRows, scratch_bytes,
        [&](std::int64_t item, std::size_t, std::byte* scratch) {
          const std::int64_t first = item * kTileRows;
          work(first, std::min(kTileRows, num_rows_ - first), scratch);
        });
  }

  // y = SA(from)
  absl::Status Attend(const Layer& layer, float* from) {
    batch_.query = Rows(from);
    batch_.key = batch_.query;
    batch_.value = batch_.query;
    return layer.attention->Forward(batch_, {Rows(y_), std::nullopt}, pool_);
  }

  // y = FF(from)
  absl::Status FeedForward(const Layer& layer, float* from) {
    const std::int64_t inner = encoder_.spec_.feed_forward_dim;
    for (std::int64_t first = 0; first < num_rows_; first += kFeedForwardRows) {
      const std::int64_t count = std::min(kFeedForwardRows, num_rows_ - first);
      const std::span<const std::int64_t> numbers(row_numbers_);
      const auto here = numbers.subspan(static_cast<std::size_t>(first),
                                        static_cast<std::size_t>(count));
      const auto inner_rows = numbers.first(static_cast<std::size_t>(count));
      const MutableTensorView inner_matrix = {
          reinterpret_cast<std::byte*>(inner_), DataType::kFloat32,
          Shape{count, inner}};
      ATTENTION_RETURN_IF_ERROR(ComputeRows(
          *layer.linear1, {Rows(from), here, inner_matrix, inner_rows}, pool_));
      if (encoder_.spec_.drops_activation) {
        Drop(DropoutSite::kActivation, first, count, {inner_, inner});
      }
      ATTENTION_RETURN_IF_ERROR(ComputeRows(
          *layer.linear2, {inner_matrix, inner_rows, Rows(y_), here}, pool_));
    }
    return absl::OkStatus();
  }

  // x += dropout(y)
  absl::Status Add(DropoutSite site) {
    return ForEachTile(
        /*scratch_bytes=*/0,
        [&](std::int64_t first, std::int64_t count, std::byte*) {
          float* from = y_ + first * width_;
          float* to = x_ + first * width_;
          Drop(site, first, count, {from, width_});
          for (std::int64_t j = 0; j < count * width_; ++j) to[j] += from[j];
        });
  }

  // to = norm(x)
  absl::Status Normalize(const RowNorm& norm, float* to) {
    return ForEachTile(norm.scratch_bytes(), [&](std::int64_t first,
                                                 std::int64_t count,
                                                 std::byte* scratch) {
      norm.Compute(x_ + first * width_, to + first * width_, count, scratch);
    });
  }

  struct RowElements {
    float* data;
    std::int64_t width;
  };

  // Drop elements out of rows [first, first + count) of the request, which are
  // the first `count` of `rows`.
  void Drop(DropoutSite site, std::int64_t first, std::int64_t count,
            const RowElements& rows) const {
    const DropoutMask dropout(batch_, site);
    if (!dropout.active()) return;
    for (std::int64_t i = 0; i < count; ++i) {
      const RowPlace& place = places_[static_cast<std::size_t>(first + i)];
      dropout.ApplyToRow(*place.sequence, place.position,
                         std::span(rows.data + i * rows.width,
                                   static_cast<std::size_t>(rows.width)));
    }
  }

  const EncoderStack& encoder_;
  const std::int64_t width_;
  PackedBatch batch_;  // query, key and value are a layer's
  ComputePool& pool_;
  const std::int64_t num_rows_;
  std::vector<std::int64_t> row_numbers_;  // 0, 1, ...
  std::vector<RowPlace> places_;           // in training
  ComputePool::Lease memory_;
  float* x_;      // [num_rows, E]
  float* y_;      // [num_rows, E]
  float* inner_;  // [kFeedForwardRows, F]
};

EncoderStack::Layer::Layer(const ComputePath& path, const ModuleSpec& spec,
                           const LayerWeights& weights)
    : attention(MakeAttentionLayer(path, spec.attention, weights.attention)),
      linear1(MakeLinearLayer(path, weights.linear1, spec.encoder->activation)),
      linear2(MakeLinearLayer(path, weights.linear2, std::nullopt)),
      norm1(weights.norm1, spec.encoder->norm_eps),
      norm2(weights.norm2, spec.encoder->norm_eps) {}

EncoderStack::EncoderStack(const ComputePath& path, const ModuleSpec& spec,
                           const ModuleWeights& weights)
    : spec_(*spec.encoder), width_(spec.attention.query_dim) {
  for (const LayerWeights& layer : weights.layers) {
    layers_.push_back(std::make_unique<const Layer>(path, spec, layer));
  }
  if (weights.final_norm) {
    final_norm_.emplace(*weights.final_norm, *spec.final_norm_eps);
  }
}

std::size_t EncoderStack::memory_bytes() const {
  std::size_t num_bytes = 0;
  for (const auto& layer : layers_) {
    num_bytes += sizeof(Layer) + layer->attention->memory_bytes() +
                 layer->linear1->memory_bytes() +
                 layer->linear2->memory_bytes() + layer->norm1.memory_bytes() +
                 layer->norm2.memory_bytes();
  }
  return num_bytes;
}

std::size_t EncoderStack::PassFloats(std::int64_t num_rows) const {
  return static_cast<std::size_t>(2 * num_rows * width_ +
                                  std::min(num_rows, kFeedForwardRows) *
                                      spec_.feed_forward_dim);
}

std::size_t EncoderStack::ScratchBytes(const PackedBatch& batch,
                                       std::size_t num_threads) const {
  const Layer& layer = *layers_.front();
  const std::int64_t num_rows = NumRows(batch);
  const std::size_t row_bytes =
      sizeof(std::int64_t) + (batch.dropout > 0.0 ? sizeof(RowPlace) : 0);
  const std::size_t item_bytes =
      std::max({layer.linear1->scratch_bytes(), layer.linear2->scratch_bytes(),
                layer.norm1.scratch_bytes()});
  return layer.attention->ScratchBytes(batch, num_threads) + CopyBytes(batch) +
         PassFloats(num_rows) * sizeof(float) +
         static_cast<std::size_t>(num_rows) * row_bytes +
         num_threads * item_bytes;
}

absl::Status EncoderStack::Forward(const PackedBatch& batch,
                                   const MutableTensorView& output,
                                   ComputePool& pool) const {
  return Pass(*this, batch, pool).Compute(batch.query, output);
}

}  // namespace attention
