// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_tile.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/onednn/tile.h"
#include "core/tensor/convert.h"
#include "core/tensor/round_up.h"

namespace attention {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Scores computed together, in bytes.
constexpr std::int64_t kScoresBytes = std::int64_t{256} << 10U;

// Heads computed together: as many as fit, with their scores, beside keys and
// values in a core's L2 cache. A function of the sequence alone, as bits may
// depend on it. Query heads that share a key head are computed together or one
// by one.
std::int64_t GroupHeads(const AttentionSpec& spec, std::int64_t num_rows,
                        std::int64_t columns) {
  const std::int64_t shared = spec.num_heads / spec.num_key_value_heads;
  const std::int64_t most = shared > 1 ? shared : spec.num_heads;
  const std::int64_t bytes_per_head =
      TileHeight(num_rows) * columns * static_cast<std::int64_t>(sizeof(float));
  if (bytes_per_head == 0) return most;
  const std::int64_t fitting =
      std::clamp<std::int64_t>(kScoresBytes / bytes_per_head, 1, most);
  return shared > 1 && fitting < shared ? 1 : fitting;
}

// Heads of one tile: a group, or all where their weights are to be averaged.
std::int64_t TileHeads(const AttentionSpec& spec, const PackedBatch& batch,
                       std::int64_t num_rows, std::int64_t columns) {
  return batch.need_weights && batch.average_attn_weights
             ? batch.num_heads
             : GroupHeads(spec, num_rows, columns);
}

bool SeesNothing(const float* scores, std::int64_t count) {
  return std::all_of(scores, scores + count,
                     [](float score) { return score == kMinusInfinity; });
}

}  // namespace

AttentionTileComputer::AttentionTileComputer(const AttentionSpec& spec,
                                             const PackedBatch& batch,
                                             const AttentionOutputs& outputs,
                                             const PackedMatrices& matrices)
    : spec_(spec),
      batch_(batch),
      outputs_(outputs),
      matrices_(matrices),
      masked_weight_(batch.masked_rows_are_nan ? kNaN : 0.0F),
      mask_line_(static_cast<std::size_t>(batch.max_key_length)),
      masks_(batch, mask_line_),
      dropout_(batch, DropoutSite::kWeights) {
  if (batch.need_weights) {
    line_.resize(static_cast<std::size_t>(batch.weight_columns()));
  }
}

void AddTiles(const AttentionSpec& spec, const PackedBatch& batch,
              const PackedSequence& packed, std::vector<AttentionTile>& tiles) {
  const std::int64_t length = packed.sequence->query_length;
  for (std::int64_t row = 0; row < length; row += kTileRows) {
    AttentionTile tile;
    tile.packed = &packed;
    tile.first_row = row;
    tile.num_rows = std::min(kTileRows, length - row);
    const std::int64_t heads =
        TileHeads(spec, batch, tile.num_rows, packed.padded_columns);
    for (; tile.first_head < batch.num_heads; tile.first_head += heads) {
      tile.num_heads = std::min(heads, batch.num_heads - tile.first_head);
      tiles.push_back(tile);
    }
  }
}

std::int64_t NumTiles(const AttentionSpec& spec, const PackedBatch& batch,
                      const Sequence& sequence) {
  const std::int64_t columns = ExtentOf(sequence).key_rows;
  const auto tiles_of_rows = [&](std::int64_t num_rows) {
    if (num_rows == 0) return std::int64_t{0};
    const std::int64_t heads = TileHeads(spec, batch, num_rows, columns);
    return (batch.num_heads + heads - 1) / heads;
  };
  return sequence.query_length / kTileRows * tiles_of_rows(kTileRows) +
         tiles_of_rows(sequence.query_length % kTileRows);
}

std::size_t TileScratchBytes(const PackedBatch& batch,
                             const Sequence& sequence) {
  const std::int64_t height =
      TileHeight(std::clamp<std::int64_t>(sequence.query_length, 1, kTileRows));
  const std::int64_t columns = ExtentOf(sequence).key_rows;
  const std::int64_t scores =
      std::max(kScoresBytes / static_cast<std::int64_t>(sizeof(float)),
               height * columns);
  const std::int64_t average =
      batch.need_weights ? height * batch.weight_columns() : 0;
  return kKernelScratchBytes +
         static_cast<std::size_t>(scores + columns + average) * sizeof(float);
}

std::size_t TileObjectBytes(const PackedBatch& batch) {
  const std::int64_t line = batch.need_weights ? batch.weight_columns() : 0;
  const std::int64_t mask_row = batch.max_key_length;
  const std::int64_t masked_rows = kTileRows * batch.num_heads / 8;  // bits
  return static_cast<std::size_t>(line + mask_row) * sizeof(float) +
         static_cast<std::size_t>(masked_rows);
}

void AttentionTileComputer::Compute(const AttentionTile& tile,
                                    std::byte* scratch) {
  const std::int64_t columns = tile.packed->padded_columns;
  if (columns == 0) return FillWithoutColumns(tile);
  const std::int64_t height = TileHeight(tile.num_rows);
  const std::int64_t group_heads = GroupHeads(spec_, tile.num_rows, columns);
  auto* scores = reinterpret_cast<float*>(scratch + kKernelScratchBytes);
  float* mask = scores + group_heads * height * columns;
  const std::int64_t end = tile.first_head + tile.num_heads;
  float* average = mask + columns;
  for (std::int64_t first = tile.first_head; first < end;
       first += group_heads) {
    ComputeGroup({tile, first, std::min(group_heads, end - first), height,
                  scores, mask, average},
                 scratch);
  }
  if (!batch_.need_weights || !batch_.average_attn_weights) return;
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    float* row = average + i * batch_.weight_columns();
    for (std::int64_t j = 0; j < batch_.weight_columns(); ++j) {
      row[j] /= static_cast<float>(batch_.num_heads);
    }
    StoreWeights(*tile.packed->sequence, /*head=*/0, tile.first_row + i, row);
  }
}

// Consecutive tiles mostly have one shape; the last kernels are kept at hand.
void AttentionTileComputer::UseKernels(const Group& group) {
  const bool grouped = spec_.num_heads != spec_.num_key_value_heads;
  const AttentionShape shape = {
      .head_dim = spec_.head_dim,
      .value_head_dim = spec_.value_head_dim,
      .query_width = spec_.query_width(),
      .key_width = spec_.key_width(),
      .value_width = spec_.value_width(),
      .output_width = spec_.output_width(),
      .scale = static_cast<float>(spec_.scale),
      .num_heads = group.num_heads,
      .num_key_value_heads = grouped ? 1 : group.num_heads,
      .height = group.height,
      .columns = group.tile.packed->padded_columns};
  if (kernels_ != nullptr && shape == shape_) return;
  kernels_ = AttentionKernelCache::Process().Get(shape);
  shape_ = shape;
  if (kernels_->scratchpad_bytes > kKernelScratchBytes) {
    throw dnnl::error(dnnl_unimplemented, "a scratchpad exceeds its bound");
  }
}

void AttentionTileComputer::ComputeGroup(const Group& group,
                                         std::byte* scratchpad) {
  UseKernels(group);
  const AttentionTile& tile = group.tile;
  const PackedSequence& packed = *tile.packed;
  const std::int64_t row = packed.query_offset + tile.first_row;
  const std::int64_t key_head =
      group.first_head / (spec_.num_heads / spec_.num_key_value_heads);

  kernels_->scores.Execute({.src = matrices_.query + row * spec_.query_width() +
                                   group.first_head * spec_.head_dim,
                            .weights = matrices_.key +
                                       packed.key_offset * spec_.key_width() +
                                       key_head * spec_.head_dim,
                            .dst = group.scores,
                            .scratchpad = scratchpad});
  masked_rows_.assign(static_cast<std::size_t>(group.num_heads * group.height),
                      false);
  for (std::int64_t h = 0; h < group.num_heads; ++h) {
    for (std::int64_t i = 0; i < tile.num_rows; ++i) MaskRow(group, h, i);
  }
  kernels_->softmax.Execute(group.scores, scratchpad);
  for (std::int64_t h = 0; h < group.num_heads; ++h) {
    for (std::int64_t i = 0; i < tile.num_rows; ++i) FinishRow(group, h, i);
  }
  kernels_->values.Execute(
      {.src = group.scores,
       .weights = matrices_.value + packed.key_offset * spec_.value_width() +
                  key_head * spec_.value_head_dim,
       .dst = matrices_.context + row * spec_.output_width() +
              group.first_head * spec_.value_head_dim,
       .scratchpad = scratchpad});
}

float* AttentionTileComputer::ScoresRow(const Group& group, std::int64_t head,
                                        std::int64_t row) {
  return group.scores +
         (head * group.height + row) * group.tile.packed->padded_columns;
}

// Add the mask to a row of scores, and hide the columns behind its end.
void AttentionTileComputer::MaskRow(const Group& group, std::int64_t head,
                                    std::int64_t row) {
  const Sequence& sequence = *group.tile.packed->sequence;
  const std::int64_t columns = sequence.num_columns();
  float* scores = ScoresRow(group, head, row);
  masks_.Replace(sequence, group.tile.first_row + row, scores);
  if (masks_.any()) {
    // The mask of one row often serves all heads, but rows of scores lie head
    // by head; reading it anew costs less than the scores do.
    masks_.Read(sequence, group.first_head + head, group.tile.first_row + row,
                group.mask);
    for (std::int64_t k = 0; k < columns; ++k) scores[k] += group.mask[k];
  }
  std::fill(scores + columns, scores + group.tile.packed->padded_columns,
            kMinusInfinity);
  if (SeesNothing(scores, columns)) {
    masked_rows_[static_cast<std::size_t>(head * group.height + row)] = true;
    scores[0] = 0.0F;  // keeps the softmax defined; FinishRow replaces it
  }
}

// Make a row of softmax what the formula says where oneDNN's differs, drop
// weights out, and hand them over if they are wanted.
void AttentionTileComputer::FinishRow(const Group& group, std::int64_t head,
                                      std::int64_t row) {
  const Sequence& sequence = *group.tile.packed->sequence;
  float* weights = ScoresRow(group, head, row);
  const std::int64_t columns = sequence.num_columns();
  if (masked_rows_[static_cast<std::size_t>(head * group.height + row)]) {
    std::fill_n(weights, columns, masked_weight_);
  } else if (std::any_of(weights, weights + columns,
                         [](float weight) { return std::isnan(weight); })) {
    std::fill_n(weights, columns, kNaN);  // oneDNN's NaN stays in its column
  }
  const bool keep_first = batch_.weights_before_dropout;
  if (batch_.need_weights && keep_first) KeepWeights(group, head, row);
  if (dropout_.active()) {
    dropout_.Apply(
        {sequence, group.first_head + head, group.tile.first_row + row,
         /*first_column=*/0},
        std::span(weights, static_cast<std::size_t>(columns)));
  }
  if (batch_.need_weights && !keep_first) KeepWeights(group, head, row);
}

void AttentionTileComputer::KeepWeights(const Group& group, std::int64_t head,
                                        std::int64_t row) {
  const Sequence& sequence = *group.tile.packed->sequence;
  const float* weights = ScoresRow(group, head, row);
  const bool masked =
      masked_rows_[static_cast<std::size_t>(head * group.height + row)];
  // Hidden columns have the weight of the others where the row sees nothing.
  std::ranges::fill(line_, masked ? masked_weight_ : 0.0F);
  for (std::int64_t k = 0; k < sequence.num_columns(); ++k) {
    line_[static_cast<std::size_t>(batch_.weight_column(sequence, k))] =
        weights[k];
  }
  const std::int64_t absolute_head = group.first_head + head;
  if (!batch_.average_attn_weights) {
    StoreWeights(sequence, absolute_head, group.tile.first_row + row,
                 line_.data());
    return;
  }
  float* average = group.average + row * batch_.weight_columns();
  for (std::size_t j = 0; j < line_.size(); ++j) {
    average[j] = (absolute_head == 0 ? 0.0F : average[j]) + line_[j];
  }
}

void AttentionTileComputer::StoreWeights(const Sequence& sequence,
                                         std::int64_t head, std::int64_t row,
                                         const float* weights) {
  const std::int64_t matrix = batch_.average_attn_weights
                                  ? sequence.index
                                  : sequence.index * batch_.num_heads + head;
  const MutableTensorView& target = *outputs_.weights;
  const std::int64_t offset =
      (matrix * batch_.max_query_length + row) * batch_.weight_columns();
  StoreReals(weights, static_cast<std::size_t>(batch_.weight_columns()),
             target.dtype,
             target.data +
                 static_cast<std::size_t>(offset) * DataTypeSize(target.dtype));
}

// A sequence of which no key is visible, and to which none is appended.
void AttentionTileComputer::FillWithoutColumns(const AttentionTile& tile) {
  const Sequence& sequence = *tile.packed->sequence;
  // Without any key at all there is nothing that could be masked.
  const float value = sequence.key_length > 0 ? masked_weight_ : 0.0F;
  const std::int64_t end = tile.first_head + tile.num_heads;
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    float* context =
        matrices_.context +
        (tile.packed->query_offset + tile.first_row + i) * spec_.output_width();
    std::fill(context + tile.first_head * spec_.value_head_dim,
              context + end * spec_.value_head_dim, value);
    if (!batch_.need_weights) continue;
    std::ranges::fill(line_, value);
    const std::int64_t last =
        batch_.average_attn_weights ? tile.first_head + 1 : end;
    for (std::int64_t head = tile.first_head; head < last; ++head) {
      StoreWeights(sequence, head, tile.first_row + i, line_.data());
    }
  }
}

}  // namespace attention
