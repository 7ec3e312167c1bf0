// SPDX-License-Identifier: Apache-2.0
#include "core/engine/encoder_stack.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/attention/dropout.h"
#include "core/attention/layer.h"
#include "core/attention/places.h"
#include "core/engine/make_layer.h"
#include "core/onednn/for_each_item.h"
#include "core/onednn/tile.h"
#include "core/tensor/carver.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Rows that go through the feed-forward network together: enough to feed every
// thread, few enough that the network's inner width costs little memory.
constexpr std::int64_t kFeedForwardRows = 16 * kTileRows;

// Where a sequence's rows stand among the pass's.
struct Place {
  const Sequence* sequence = nullptr;
  std::int64_t first_row = 0;
};

}  // namespace

// What a pass works in: the rows of all its sequences, one behind the other.
struct EncoderStack::Memory {
  Memory(const EncoderStack& encoder, std::span<const Sequence> sequences,
         Carver& carver)
      : num_rows(NumQueryRows(sequences)) {
    const auto num_sequences = static_cast<std::int64_t>(sequences.size());
    placed = carver.Take<Sequence>(num_sequences);
    places = carver.Take<Place>(num_sequences);
    x = carver.Take<float>(num_rows * encoder.width_).data();
    y = carver.Take<float>(num_rows * encoder.width_).data();
    inner = carver
                .Take<float>(std::min(num_rows, kFeedForwardRows) *
                             encoder.spec_.feed_forward_dim)
                .data();
  }

  std::int64_t num_rows;
  std::span<Sequence> placed;  // whose rows are those of x and y
  std::span<Place> places;     // of the sequences
  float* x;                    // [num_rows, E]
  float* y;                    // [num_rows, E]
  float* inner;                // [kFeedForwardRows or fewer, F]
};

// One forward pass.
class EncoderStack::Pass {
 public:
  Pass(const EncoderStack& encoder, std::span<const Sequence> sequences,
       const Memory& memory, ComputePool& pool)
      : encoder_(encoder),
        width_(encoder.width_),
        sequences_(sequences),
        memory_(memory),
        pool_(pool) {
    std::int64_t row = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      memory.places[s] = {&sequences[s], row};
      row += sequences[s].query_length;
    }
  }

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute() {
    ATTENTION_RETURN_IF_ERROR(Load());
    for (const std::unique_ptr<const Layer>& layer : encoder_.layers_) {
      ATTENTION_RETURN_IF_ERROR(encoder_.spec_.norm_first
                                    ? ComputePreNorm(*layer)
                                    : ComputePostNorm(*layer));
      ++layer_;
    }
    if (encoder_.final_norm_) {
      ATTENTION_RETURN_IF_ERROR(Normalize(*encoder_.final_norm_, memory_.x));
    }
    return Store();
  }

 private:
  // x = norm1(x + SA(x)); x = norm2(x + FF(x))
  absl::Status ComputePostNorm(const Layer& layer) {
    ATTENTION_RETURN_IF_ERROR(Attend(layer, memory_.x));
    ATTENTION_RETURN_IF_ERROR(Add(DropoutSite::kAttention));
    ATTENTION_RETURN_IF_ERROR(Normalize(layer.norm1, memory_.x));
    ATTENTION_RETURN_IF_ERROR(FeedForward(layer, memory_.x));
    ATTENTION_RETURN_IF_ERROR(Add(DropoutSite::kFeedForward));
    return Normalize(layer.norm2, memory_.x);
  }

  // x = x + SA(norm1(x)); x = x + FF(norm2(x))
  absl::Status ComputePreNorm(const Layer& layer) {
    ATTENTION_RETURN_IF_ERROR(Normalize(layer.norm1, memory_.y));
    ATTENTION_RETURN_IF_ERROR(Attend(layer, memory_.y));
    ATTENTION_RETURN_IF_ERROR(Add(DropoutSite::kAttention));
    ATTENTION_RETURN_IF_ERROR(Normalize(layer.norm2, memory_.y));
    ATTENTION_RETURN_IF_ERROR(FeedForward(layer, memory_.y));
    return Add(DropoutSite::kFeedForward);
  }

  // x = the sequences' queries
  absl::Status Load() {
    return ForEachTile(
        /*scratch_bytes=*/0, [&](const RowRange& range, std::byte*) {
          ForEachRow(range, [&](const Place& place, auto position, auto row) {
            ReadRow(place.sequence->query, position, width_,
                    memory_.x + row * width_);
          });
        });
  }

  // the sequences' outputs = x
  absl::Status Store() {
    return ForEachTile(
        /*scratch_bytes=*/0, [&](const RowRange& range, std::byte*) {
          ForEachRow(range, [&](const Place& place, auto position, auto row) {
            WriteRow(memory_.x + row * width_, width_, place.sequence->output,
                     position);
          });
        });
  }

  // As those of places.h.
  template <typename Visit>
  void ForEachRow(const RowRange& range, const Visit& visit) const {
    attention::ForEachRow(memory_.places, &Place::first_row, range, visit);
  }
  bool AllStopped(const RowRange& range) const {
    return attention::AllStopped(memory_.places, &Place::first_row, range);
  }

  // Call `work(range, scratch)` for every tile of rows somebody waits for.
  template <typename Work>
  absl::Status ForEachTile(std::size_t scratch_bytes, const Work& work) {
    return ForEachItem(
        pool_, (memory_.num_rows + kTileRows - 1) / kTileRows, scratch_bytes,
        [&](std::int64_t item, std::size_t, std::byte* scratch) {
          const std::int64_t first = item * kTileRows;
          const RowRange range = {
              first, std::min(kTileRows, memory_.num_rows - first)};
          if (!AllStopped(range)) work(range, scratch);
        });
  }

  // y = SA(from)
  absl::Status Attend(const Layer& layer, const float* from) {
    PlaceSequences(sequences_, RowsOfMatrix(from, width_),
                   RowsOfMatrix(memory_.y, width_), memory_.placed);
    return layer.attention->Forward(memory_.placed, layer_, pool_);
  }

  // y = FF(from)
  absl::Status FeedForward(const Layer& layer, const float* from) {
    const std::int64_t num_rows = memory_.num_rows;
    for (std::int64_t first = 0; first < num_rows; first += kFeedForwardRows) {
      const RowRange range = {first,
                              std::min(kFeedForwardRows, num_rows - first)};
      if (AllStopped(range)) continue;
      ATTENTION_RETURN_IF_ERROR(layer.linear1->Compute(
          from + first * width_, range.count, memory_.inner, pool_));
      if (encoder_.spec_.drops_activation) {
        Drop(DropoutSite::kActivation, range,
             {memory_.inner, encoder_.spec_.feed_forward_dim});
      }
      if (AllStopped(range)) continue;
      ATTENTION_RETURN_IF_ERROR(layer.linear2->Compute(
          memory_.inner, range.count, memory_.y + first * width_, pool_));
    }
    return absl::OkStatus();
  }

  // x += dropout(y)
  absl::Status Add(DropoutSite site) {
    return ForEachTile(/*scratch_bytes=*/0,
                       [&](const RowRange& range, std::byte*) {
                         float* from = memory_.y + range.first * width_;
                         float* to = memory_.x + range.first * width_;
                         Drop(site, range, {from, width_});
                         for (std::int64_t j = 0; j < range.count * width_; ++j)
                           to[j] += from[j];
                       });
  }

  // to = norm(x)
  absl::Status Normalize(const RowNorm& norm, float* to) {
    return ForEachTile(
        norm.scratch_bytes(), [&](const RowRange& range, std::byte* scratch) {
          norm.Compute(memory_.x + range.first * width_,
                       to + range.first * width_, range.count, scratch);
        });
  }

  struct RowElements {
    float* data;
    std::int64_t width;
  };

  // Drop elements out of rows, the first of which is the first of `elements`.
  void Drop(DropoutSite site, const RowRange& range,
            const RowElements& elements) const {
    ForEachRow(range, [&](const Place& place, auto position, auto row) {
      const Sequence& sequence = *place.sequence;
      const DropoutMask dropout(*sequence.request, layer_, site);
      if (!dropout.active()) return;
      dropout.ApplyToRow(
          sequence, position,
          std::span(elements.data + (row - range.first) * elements.width,
                    static_cast<std::size_t>(elements.width)));
    });
  }

  const EncoderStack& encoder_;
  const std::int64_t width_;
  std::span<const Sequence> sequences_;
  const Memory& memory_;
  ComputePool& pool_;
  std::uint32_t layer_ = 0;
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

LayerWeights EncoderStack::UnpackLayer(std::size_t index) const {
  const Layer& layer = *layers_[index];
  return {.attention = layer.attention->Unpack(),
          .linear1 = layer.linear1->Unpack(),
          .linear2 = layer.linear2->Unpack(),
          .norm1 = layer.norm1.Unpack(),
          .norm2 = layer.norm2.Unpack()};
}

std::optional<NormWeights> EncoderStack::UnpackFinalNorm() const {
  if (!final_norm_) return std::nullopt;
  return final_norm_->Unpack();
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

std::size_t EncoderStack::ScratchBytes(std::span<const Sequence> sequences,
                                       std::size_t num_threads) const {
  const Layer& layer = *layers_.front();
  Carver counter;
  (void)Memory(*this, sequences, counter);
  const std::size_t item_bytes =
      std::max({layer.linear1->scratch_bytes(), layer.linear2->scratch_bytes(),
                layer.norm1.scratch_bytes()});
  return layer.attention->ScratchBytes(sequences, num_threads) +
         counter.used() + num_threads * item_bytes;
}

absl::Status EncoderStack::Forward(std::span<const Sequence> sequences,
                                   ComputePool& pool) const {
  Carver counter;
  (void)Memory(*this, sequences, counter);
  ComputePool::Lease lease(pool, counter.used());
  Carver carver(lease.data());
  const Memory memory(*this, sequences, carver);
  return memory.num_rows == 0 ? absl::OkStatus()
                              : Pass(*this, sequences, memory, pool).Compute();
}

}  // namespace attention
