// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "core/attention/dropout.h"
#include "core/attention/masks.h"
#include "core/onednn/primitives.h"
#include "core/tensor/carver.h"
#include "core/tensor/convert.h"
#include "core/tensor/round_up.h"

namespace attention {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Bound on a primitive's scratchpad: with strided operands oneDNN copies a
// block of keys, at most a few hundred rows of one head.
constexpr std::size_t kScratchpadBytes = std::size_t{1} << 20U;

// What the primitives are compiled for: G heads of queries, each with a head of
// keys and values of its own, which are parts of wider rows.
struct Shape {
  std::int64_t heads = 0;  // G
  std::int64_t height = 0;
  std::int64_t columns = 0;
  std::int64_t head_dim = 0;  // D
  std::int64_t value_head_dim = 0;
  std::int64_t key_width = 0;
  std::int64_t value_width = 0;
  float scale = 1.0F;

  friend bool operator==(const Shape&, const Shape&) = default;
};

// The formula, of dense queries, scores and context.
struct Primitives {
  explicit Primitives(const Shape& of)
      : shape(of),
        scores(
            MakeMatmul({.src = Dense({of.heads, of.height, of.head_dim}),
                        .weights = Strided({of.heads, of.head_dim, of.columns},
                                           {of.head_dim, 1, of.key_width}),
                        .dst = Dense({of.heads, of.height, of.columns}),
                        .eltwise = dnnl::algorithm::eltwise_linear,
                        .alpha = of.scale})),
        softmax(MakeSoftmax(of.heads * of.height, of.columns)),
        values(MakeMatmul(
            {.src = Dense({of.heads, of.height, of.columns}),
             .weights = Strided({of.heads, of.columns, of.value_head_dim},
                                {of.value_head_dim, of.value_width, 1}),
             .dst = Dense({of.heads, of.height, of.value_head_dim})})) {
    for (const Primitive* primitive : {&scores, &softmax, &values}) {
      if (primitive->scratchpad_bytes() > kScratchpadBytes) {
        throw dnnl::error(dnnl_unimplemented, "a scratchpad exceeds its bound");
      }
    }
  }

  // A thread keeps those of its last shape at hand, oneDNN the rest.
  static const Primitives& Of(const Shape& shape) {
    thread_local std::optional<Primitives> last;
    if (!last || last->shape != shape) last.emplace(shape);
    return *last;
  }

  Shape shape;
  Primitive scores;
  Primitive softmax;
  Primitive values;
};

// G: one for each head of keys, if their scores fit beside keys and values in a
// core's L2 cache, else one alone. Never several with the same keys, which
// oneDNN would multiply as one matrix of another height. A function of the
// sequence's keys alone, as bits may depend on it.
std::int64_t HeadsTogether(const AttentionSpec& spec,
                           const Sequence& sequence) {
  constexpr std::int64_t kMostFloats = std::int64_t{1} << 17U;
  const std::int64_t heads = spec.num_key_value_heads;
  return heads * kTileRows * PaddedColumns(sequence) <= kMostFloats ? heads : 1;
}

Shape ShapeOf(const AttentionTile& tile) {
  const AttentionSpec& spec = tile.spec;
  return {.heads = HeadsTogether(spec, tile.sequence),
          .height = tile.rows.height,
          .columns = PaddedColumns(tile.sequence),
          .head_dim = spec.head_dim,
          .value_head_dim = spec.value_head_dim,
          .key_width = spec.key_width(),
          .value_width = spec.value_width(),
          .scale = static_cast<float>(spec.scale)};
}

// Computes one tile.
class Computer {
 public:
  // Takes what it works in from a carver; without memory that counts.
  Computer(const AttentionTile& tile, Carver& carver)
      : tile_(tile),
        spec_(tile.spec),
        sequence_(tile.sequence),
        request_(*tile.sequence.request),
        columns_(sequence_.num_columns()),
        shape_(ShapeOf(tile)),
        dropout_(request_, tile.layer, DropoutSite::kWeights),
        query_(carver.Take<float>(num_scores_rows() * shape_.head_dim)),
        scores_(carver.Take<float>(num_scores_rows() * shape_.columns)),
        context_(carver.Take<float>(num_scores_rows() * shape_.value_head_dim)),
        sees_nothing_(carver.Take<bool>(num_scores_rows())),
        mask_(carver.Take<float>(columns_)),
        line_(carver.Take<float>(
            request_.need_weights ? request_.weight_columns() : 0)),
        sums_(carver.Take<float>(request_.averages_weights()
                                     ? tile.rows.num_rows *
                                           request_.weight_columns()
                                     : 0)),
        scratchpad_(carver.Take<std::byte>(kScratchpadBytes)),
        masks_(carver.Take<float>(request_.max_key_length)) {
    // Without any column there is nothing that could be masked.
    const bool has_columns = sequence_.key_length + columns_ > 0;
    masked_weight_ = request_.masked_rows_are_nan && has_columns ? kNaN : 0.0F;
  }

  void Compute() {
    std::ranges::fill(sums_, 0.0F);
    if (!request_.averages_weights()) return ComputeHeads(tile_.part);
    for (std::int64_t r = 0; r < spec_.num_heads / shape_.heads; ++r) {
      ComputeHeads(r);
    }
    for (std::int64_t i = 0; i < tile_.rows.num_rows; ++i) {
      for (std::size_t j = 0; j < line_.size(); ++j) {
        line_[j] = SumsOf(i)[j] / static_cast<float>(spec_.num_heads);
      }
      StoreLine(/*head=*/0, i);
    }
  }

 private:
  // A row of the heads that are computed together.
  struct Row {
    std::int64_t head;    // of the module
    std::int64_t index;   // of the tile
    std::int64_t number;  // among the rows of scores
  };

  // Heads that share a head of keys.
  std::int64_t sharing() const {
    return spec_.num_heads / spec_.num_key_value_heads;
  }

  // Of the G heads of round r: each the r-th of those that share its keys, or,
  // if they are computed one by one, head r.
  template <typename Work>
  void ForEachRow(std::int64_t r, const Work& work) {
    for (std::int64_t g = 0; g < shape_.heads; ++g) {
      for (std::int64_t i = 0; i < tile_.rows.num_rows; ++i) {
        work(Row{g * sharing() + r, i, g * shape_.height + i});
      }
    }
  }

  std::int64_t num_scores_rows() const { return shape_.heads * shape_.height; }
  std::int64_t PositionOf(std::int64_t index) const {
    return tile_.rows.first + index;
  }
  float* ScoresOf(const Row& row) {
    return scores_.data() + row.number * shape_.columns;
  }
  bool& SeesNothing(const Row& row) {
    return sees_nothing_[static_cast<std::size_t>(row.number)];
  }
  float* SumsOf(std::int64_t index) {
    return sums_.data() + index * request_.weight_columns();
  }

  void ComputeHeads(std::int64_t r) {
    const Primitives& primitives = Primitives::Of(shape_);
    const std::int64_t key_head = r / sharing();
    std::ranges::fill(query_, 0.0F);  // behind the tile's rows
    ForEachRow(r, [&](const Row& row) { TakeQuery(row); });
    primitives.scores.Execute(
        {{DNNL_ARG_SRC, query_.data()},
         {DNNL_ARG_WEIGHTS, tile_.key + key_head * spec_.head_dim},
         {DNNL_ARG_DST, scores_.data()}},
        scratchpad_.data());
    ForEachRow(r, [&](const Row& row) { Mask(row); });
    primitives.softmax.Execute(
        {{DNNL_ARG_SRC, scores_.data()}, {DNNL_ARG_DST, scores_.data()}},
        scratchpad_.data());
    ForEachRow(r, [&](const Row& row) { Finish(row); });
    primitives.values.Execute(
        {{DNNL_ARG_SRC, scores_.data()},
         {DNNL_ARG_WEIGHTS, tile_.value + key_head * spec_.value_head_dim},
         {DNNL_ARG_DST, context_.data()}},
        scratchpad_.data());
    ForEachRow(r, [&](const Row& row) { PutContext(row); });
  }

  void TakeQuery(const Row& row) {
    const std::int64_t dim = spec_.head_dim;
    std::copy_n(tile_.query + row.index * spec_.query_width() + row.head * dim,
                dim, query_.data() + row.number * dim);
  }
  void PutContext(const Row& row) {
    const std::int64_t dim = spec_.value_head_dim;
    std::copy_n(
        context_.data() + row.number * dim, dim,
        tile_.context + row.index * spec_.output_width() + row.head * dim);
  }

  // Add the mask to a row of scores, and hide the columns behind its end.
  void Mask(const Row& row) {
    float* scores = ScoresOf(row);
    const std::int64_t position = PositionOf(row.index);
    MaskReader<float>::Replace(sequence_, position, scores);
    if (HasMasks(request_)) {
      masks_.Read(sequence_, row.head, position, mask_.data());
      for (std::size_t k = 0; k < mask_.size(); ++k) scores[k] += mask_[k];
    }
    std::fill(scores + columns_, scores + shape_.columns, kMinusInfinity);
    SeesNothing(row) = std::all_of(scores, scores + columns_, [](float score) {
      return score == kMinusInfinity;
    });
    // Keeps the softmax defined; Finish replaces it.
    if (SeesNothing(row)) scores[0] = 0.0F;
  }

  // Make a row of softmax what the formula says where oneDNN's differs, drop
  // weights out, and hand them over if they are wanted.
  void Finish(const Row& row) {
    float* scores = ScoresOf(row);
    const std::span weights(scores, static_cast<std::size_t>(columns_));
    if (SeesNothing(row)) {
      std::fill_n(scores, shape_.columns, masked_weight_);
    } else if (std::ranges::any_of(weights,
                                   [](float w) { return std::isnan(w); })) {
      std::ranges::fill(weights, kNaN);  // oneDNN's NaN stays in its column
    }
    if (request_.wants_weights_before_dropout()) KeepWeights(row);
    if (dropout_.active()) {
      dropout_.Apply({sequence_, row.head, PositionOf(row.index),
                      /*first_column=*/0},
                     weights);
    }
    if (request_.wants_weights_after_dropout()) KeepWeights(row);
  }

  void KeepWeights(const Row& row) {
    // Hidden columns have the weight of the others where the row sees nothing.
    std::ranges::fill(line_, SeesNothing(row) ? masked_weight_ : 0.0F);
    for (std::int64_t k = 0; k < columns_; ++k) {
      line_[static_cast<std::size_t>(request_.weight_column(sequence_, k))] =
          ScoresOf(row)[k];
    }
    if (!request_.averages_weights()) return StoreLine(row.head, row.index);
    for (std::size_t j = 0; j < line_.size(); ++j) {
      SumsOf(row.index)[j] += line_[j];
    }
  }

  void StoreLine(std::int64_t head, std::int64_t index) {
    StoreReals(line_.data(), line_.size(), request_.weights.dtype,
               request_.weight_data(sequence_, head, PositionOf(index)));
  }

  const AttentionTile& tile_;
  const AttentionSpec& spec_;
  const Sequence& sequence_;
  const RequestPlan& request_;
  const std::int64_t columns_;  // that are not padding
  const Shape shape_;
  const DropoutMask dropout_;
  float masked_weight_;           // of every column of a row that sees none
  std::span<float> query_;        // [G, height, D]
  std::span<float> scores_;       // [G, height, columns]
  std::span<float> context_;      // [G, height, Dv]
  std::span<bool> sees_nothing_;  // [G, height]
  std::span<float> mask_;         // of a row
  std::span<float> line_;         // a row of weights
  std::span<float> sums_;         // [num_rows, S'] of the heads' weights
  std::span<std::byte> scratchpad_;
  MaskReader<float> masks_;
};

}  // namespace

// To the floats of a 512-bit register, and beyond 256 to a sixteenth of their
// magnitude: that bounds the shapes to compile to 16 for each doubling, at the
// cost of at most 6 %.
std::int64_t PaddedColumns(const Sequence& sequence) {
  constexpr std::uint64_t kMinStep = 16;
  const auto columns = static_cast<std::uint64_t>(
      std::max<std::int64_t>(sequence.num_columns(), 1));
  const std::uint64_t step =
      std::max(kMinStep, std::bit_floor(columns) / kMinStep);
  return static_cast<std::int64_t>(RoundUp(columns, step));
}

std::int64_t NumParts(const AttentionSpec& spec, const Sequence& sequence) {
  return sequence.request->averages_weights()
             ? 1
             : spec.num_heads / HeadsTogether(spec, sequence);
}

std::size_t TileScratchBytes(const AttentionTile& tile) {
  Carver counter;
  const Computer computer(tile, counter);
  return counter.used();
}

void ComputeTile(const AttentionTile& tile, std::byte* scratch) {
  Carver carver(scratch);
  Computer(tile, carver).Compute();
}

}  // namespace attention
