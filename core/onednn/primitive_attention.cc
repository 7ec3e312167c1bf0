// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/primitive_attention.h"

#include <algorithm>
#include <array>

#include "core/attention/places.h"
#include "core/onednn/attention_tile.h"
#include "core/onednn/for_each_item.h"
#include "core/tensor/carver.h"
#include "core/tensor/floats.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Bound on the small objects a thread makes in a pass.
constexpr std::size_t kThreadBytes = 65536;

// Where a sequence's rows and tiles lie among those of a pass.
struct Place {
  const Sequence* sequence = nullptr;
  std::int64_t first_query = 0;   // row of the query and context matrices
  std::int64_t first_key = 0;     // among the visible keys
  std::int64_t first_column = 0;  // row of the key and value matrices
  std::int64_t first_tile = 0;

  // Where the next one lies.
  Place Next(const AttentionSpec& spec) const {
    const std::int64_t num_tiles =
        RowTiles(sequence->query_length).count() * NumParts(spec, *sequence);
    return {.first_query = first_query + sequence->query_length,
            .first_key = first_key + sequence->num_visible,
            .first_column = first_column + PaddedColumns(*sequence),
            .first_tile = first_tile + num_tiles};
  }
};

// The matrices of a pass whose rows end at `end`.
struct Matrices {
  Matrices(const AttentionSpec& spec, const Place& end, Carver carver)
      : query(carver.Take<float>(end.first_query * spec.query_width()).data()),
        key(carver.Take<float>(end.first_column * spec.key_width()).data()),
        value(carver.Take<float>(end.first_column * spec.value_width()).data()),
        context(spec.own_context_width() == 0
                    ? query
                    : carver.Take<float>(end.first_query * spec.output_width())
                          .data()),
        num_bytes(carver.used()) {}

  float* query;    // [queries, H D]
  float* key;      // [columns, Hkv D]
  float* value;    // [columns, Hkv Dv]
  float* context;  // [queries, H Dv]
  std::size_t num_bytes;
};

// What the largest tile of some sequences is computed in.
std::size_t LargestTileBytes(const AttentionSpec& spec,
                             std::span<const Sequence> sequences) {
  std::size_t num_bytes = 0;
  for (const Sequence& sequence : sequences) {
    if (sequence.query_length == 0) continue;
    const RowTile rows = RowTiles(sequence.query_length)[0];
    num_bytes = std::max(
        num_bytes,
        TileScratchBytes({.spec = spec, .sequence = sequence, .rows = rows}));
  }
  return num_bytes;
}

}  // namespace

// One forward pass.
class PrimitiveAttention::Pass {
 public:
  // Throws std::bad_alloc.
  Pass(const PrimitiveAttention& attention, std::span<const Sequence> sequences,
       std::uint32_t layer, ComputePool& pool)
      : attention_(attention),
        spec_(attention.spec_),
        sequences_(sequences),
        layer_(layer),
        pool_(pool),
        places_(PlacesOf(spec_, sequences)),
        memory_(pool, Matrices(spec_, places_.back(), Carver()).num_bytes),
        matrices_(spec_, places_.back(), Carver(memory_.data())) {}

  // Throws dnnl::error, std::bad_alloc.
  absl::Status Compute() {
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      ZeroMissingWeights(sequences_[s]);
      FillEnds(places_[s]);
    }
    ATTENTION_RETURN_IF_ERROR(ProjectInputs());
    ATTENTION_RETURN_IF_ERROR(Attend());
    return ProjectOutput();
  }

 private:
  using Number = std::int64_t Place::*;  // what rows or tiles are counted by

  // The sequences' places, and their end.
  static std::vector<Place> PlacesOf(const AttentionSpec& spec,
                                     std::span<const Sequence> sequences) {
    std::vector<Place> places(sequences.size() + 1);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      places[s].sequence = &sequences[s];
      places[s + 1] = places[s].Next(spec);
    }
    return places;
  }

  // Append bias_k and bias_v to a sequence's keys and values, and zeros: the
  // row of add_zero_attn, and padding.
  void FillEnds(const Place& place) {
    const std::int64_t row = place.first_column + place.sequence->num_visible;
    const std::int64_t count =
        PaddedColumns(*place.sequence) - place.sequence->num_visible;
    float* key = matrices_.key + row * spec_.key_width();
    float* value = matrices_.value + row * spec_.value_width();
    std::fill_n(key, count * spec_.key_width(), 0.0F);
    std::fill_n(value, count * spec_.value_width(), 0.0F);
    std::ranges::copy(attention_.bias_k_, key);
    std::ranges::copy(attention_.bias_v_, value);
  }

  // Rows of the sequences that become rows of a matrix.
  struct Input {
    const Pass& pass;
    const PrimitiveLinear& linear;
    Rows Sequence::* rows;
    Number first;
    Number target;  // the matrix's row of a sequence's first
    float* matrix;

    [[nodiscard]] RowTiles tiles() const {
      return RowTiles(pass.places_.back().*first);
    }
    [[nodiscard]] std::int64_t num_items() const { return tiles().count(); }
    void Compute(std::int64_t item, std::byte* scratch) const {
      pass.Project(*this, tiles()[item], scratch);
    }
  };

  absl::Status ProjectInputs() {
    const std::array<Input, 3> inputs = {
        Input{*this, attention_.query_, &Sequence::query, &Place::first_query,
              &Place::first_query, matrices_.query},
        Input{*this, attention_.key_, &Sequence::key, &Place::first_key,
              &Place::first_column, matrices_.key},
        Input{*this, attention_.value_, &Sequence::value, &Place::first_key,
              &Place::first_column, matrices_.value}};
    return ForEachItemOf(pool_, inputs, attention_.ProjectBytes());
  }

  void Project(const Input& input, const RowTile& tile,
               std::byte* scratch) const {
    if (AllStopped(places_, input.first, tile.range())) return;
    const std::int64_t in = input.linear.in();
    const std::int64_t out = input.linear.out();
    const bool are_keys = input.first == &Place::first_key;
    const auto for_each_row = [&](const auto& visit) {
      ForEachRow(places_, input.first, tile.range(), visit);
    };
    input.linear.ComputeTile(
        tile,
        [&](float* x) {
          for_each_row([&](const Place& place, auto position, auto row) {
            const Sequence& sequence = *place.sequence;
            ReadRow(sequence.*input.rows,
                    are_keys ? sequence.visible_key(position) : position, in,
                    x + (row - tile.first) * in);
          });
        },
        [&](const float* y) {
          for_each_row([&](const Place& place, auto position, auto row) {
            std::copy_n(y + (row - tile.first) * out, out,
                        input.matrix + (place.*input.target + position) * out);
          });
        },
        scratch);
  }

  absl::Status Attend() {
    return ForEachItem(
        pool_, places_.back().first_tile, LargestTileBytes(spec_, sequences_),
        [&](std::int64_t item, std::size_t, std::byte* scratch) {
          const Place& place = *PlaceOf(places_, &Place::first_tile, item);
          if (place.sequence->request->StopRequested()) return;
          ComputeTile(TileOf(place, item - place.first_tile), scratch);
        });
  }

  // A tile of a sequence: those of the same heads follow one another, so that
  // their keys and values stay in cache.
  AttentionTile TileOf(const Place& place, std::int64_t index) const {
    const Sequence& sequence = *place.sequence;
    const RowTiles tiles(sequence.query_length);
    const RowTile rows = tiles[index % tiles.count()];
    const std::int64_t query = place.first_query + rows.first;
    return {.spec = spec_,
            .sequence = sequence,
            .layer = layer_,
            .rows = rows,
            .part = index / tiles.count(),
            .query = matrices_.query + query * spec_.query_width(),
            .key = matrices_.key + place.first_column * spec_.key_width(),
            .value = matrices_.value + place.first_column * spec_.value_width(),
            .context = matrices_.context + query * spec_.output_width()};
  }

  absl::Status ProjectOutput() {
    const RowTiles tiles(places_.back().first_query);
    const std::int64_t width = spec_.output_width();
    return ForEachItem(
        pool_, tiles.count(), attention_.ProjectBytes(),
        [&](std::int64_t item, std::size_t, std::byte* scratch) {
          const RowTile tile = tiles[item];
          if (AllStopped(places_, &Place::first_query, tile.range())) return;
          attention_.output_.ComputeTile(
              tile,
              [&](float* x) {
                std::copy_n(matrices_.context + tile.first * width,
                            tile.num_rows * width, x);
              },
              [&](const float* y) {
                ForEachRow(places_, &Place::first_query, tile.range(),
                           [&](const Place& place, auto position, auto row) {
                             WriteRow(y + (row - tile.first) * width, width,
                                      place.sequence->output, position);
                           });
              },
              scratch);
        });
  }

  const PrimitiveAttention& attention_;
  const AttentionSpec& spec_;
  const std::span<const Sequence> sequences_;
  const std::uint32_t layer_;
  ComputePool& pool_;
  const std::vector<Place> places_;
  ComputePool::Lease memory_;
  const Matrices matrices_;
};

PrimitiveAttention::PrimitiveAttention(const AttentionSpec& spec,
                                       const AttentionWeights& weights)
    : spec_(spec),
      query_(spec.input_projections ? PrimitiveLinear(weights.query)
                                    : PrimitiveLinear(spec.query_dim)),
      key_(spec.input_projections ? PrimitiveLinear(weights.key)
                                  : PrimitiveLinear(spec.key_dim)),
      value_(spec.input_projections ? PrimitiveLinear(weights.value)
                                    : PrimitiveLinear(spec.value_dim)),
      output_(spec.output_projection ? PrimitiveLinear(weights.output)
                                     : PrimitiveLinear(spec.output_width())),
      bias_k_(ToFloats(weights.bias_k)),
      bias_v_(ToFloats(weights.bias_v)) {}

std::size_t PrimitiveAttention::memory_bytes() const {
  return query_.memory_bytes() + key_.memory_bytes() + value_.memory_bytes() +
         output_.memory_bytes() +
         (bias_k_.size() + bias_v_.size()) * sizeof(float);
}

std::size_t PrimitiveAttention::ProjectBytes() const {
  return std::max({query_.scratch_bytes(), key_.scratch_bytes(),
                   value_.scratch_bytes(), output_.scratch_bytes()});
}

std::size_t PrimitiveAttention::ScratchBytes(
    std::span<const Sequence> sequences, std::size_t num_threads) const {
  Place end;
  for (const Sequence& sequence : sequences) {
    end.sequence = &sequence;
    end = end.Next(spec_);
  }
  const std::size_t busy_threads =
      std::min(num_threads, static_cast<std::size_t>(end.first_tile));
  return Matrices(spec_, end, Carver()).num_bytes +
         (sequences.size() + 1) * sizeof(Place) +
         std::max(num_threads * ProjectBytes(),
                  busy_threads * LargestTileBytes(spec_, sequences)) +
         num_threads * kThreadBytes;
}

absl::Status PrimitiveAttention::Forward(std::span<const Sequence> sequences,
                                         std::uint32_t layer,
                                         ComputePool& pool) const {
  return Pass(*this, sequences, layer, pool).Compute();
}

AttentionWeights PrimitiveAttention::Unpack() const {
  return {.query = query_.Unpack(),
          .key = key_.Unpack(),
          .value = value_.Unpack(),
          .output = output_.Unpack(),
          .bias_k = ToTensor(bias_k_),
          .bias_v = ToTensor(bias_v_)};
}

}  // namespace attention
