// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/attention_tile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/onednn/round_up.h"
#include "core/onednn/tile.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

bool SeesNothing(const float* scores, std::int64_t count) {
  return std::all_of(scores, scores + count,
                     [](float score) { return score == kMinusInfinity; });
}

}  // namespace

AttentionTileComputer::AttentionTileComputer(const PackedBatch& batch,
                                             const AttentionOutputs& outputs,
                                             const PackedMatrices& matrices,
                                             std::int64_t embed_dim)
    : batch_(batch),
      outputs_(outputs),
      matrices_(matrices),
      embed_dim_(embed_dim),
      head_dim_(embed_dim / batch.num_heads),
      masked_weight_(batch.masked_rows_are_nan ? kNaN : 0.0F),
      masks_(batch),
      dropout_(batch.dropout, batch.dropout_seed) {
  if (batch.need_weights) {
    line_.resize(static_cast<std::size_t>(batch.weight_columns()));
  }
}

std::size_t AttentionTileComputer::ScratchBytes(
    const AttentionTile& tile) const {
  if (tile.kernels == nullptr) return 0;
  const std::int64_t height = TileHeight(tile.num_rows);
  const std::int64_t floats =
      (tile.group_heads * height + 1) * tile.packed->padded_columns +
      (batch_.need_weights ? height * batch_.weight_columns() : 0);
  return tile.kernels->scratchpad_bytes +
         static_cast<std::size_t>(floats) * sizeof(float);
}

void AttentionTileComputer::Compute(const AttentionTile& tile,
                                    std::byte* scratch) {
  if (tile.kernels == nullptr) return FillWithoutColumns(tile);
  const std::int64_t height = TileHeight(tile.num_rows);
  const std::int64_t columns = tile.packed->padded_columns;
  auto* scores =
      reinterpret_cast<float*>(scratch + tile.kernels->scratchpad_bytes);
  float* mask = scores + tile.group_heads * height * columns;
  Group group{tile, tile.first_head, height, scores, mask, mask + columns};
  const std::int64_t end = tile.first_head + tile.num_heads;
  for (; group.first_head < end; group.first_head += tile.group_heads) {
    ComputeGroup(group, scratch);
  }
  if (!batch_.need_weights || !batch_.average_attn_weights) return;
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    float* average = group.average + i * batch_.weight_columns();
    for (std::int64_t j = 0; j < batch_.weight_columns(); ++j) {
      average[j] /= static_cast<float>(batch_.num_heads);
    }
    StoreWeights(*tile.packed->sequence, /*head=*/0, tile.first_row + i,
                 average);
  }
}

void AttentionTileComputer::ComputeGroup(const Group& group,
                                         std::byte* scratchpad) {
  const AttentionTile& tile = group.tile;
  const PackedSequence& packed = *tile.packed;
  const std::int64_t first_column = group.first_head * head_dim_;
  float* query = matrices_.query +
                 (packed.query_offset + tile.first_row) * embed_dim_ +
                 first_column;
  const std::int64_t keys = packed.key_offset * embed_dim_ + first_column;

  tile.kernels->scores.Execute({.src = query,
                                .weights = matrices_.key + keys,
                                .dst = group.scores,
                                .scratchpad = scratchpad});
  masked_rows_.assign(static_cast<std::size_t>(tile.group_heads * group.height),
                      false);
  for (std::int64_t h = 0; h < tile.group_heads; ++h) {
    for (std::int64_t i = 0; i < tile.num_rows; ++i) MaskRow(group, h, i);
  }
  tile.kernels->softmax.Execute(group.scores, scratchpad);
  for (std::int64_t h = 0; h < tile.group_heads; ++h) {
    for (std::int64_t i = 0; i < tile.num_rows; ++i) FinishRow(group, h, i);
  }
  tile.kernels->values.Execute({.src = group.scores,
                                .weights = matrices_.value + keys,
                                .dst = query,
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
  if (dropout_.active()) {
    dropout_.Apply(sequence, group.first_head + head,
                   group.tile.first_row + row, weights);
  }
  if (batch_.need_weights) KeepWeights(group, head, row);
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
        matrices_.query +
        (tile.packed->query_offset + tile.first_row + i) * embed_dim_;
    std::fill(context + tile.first_head * head_dim_, context + end * head_dim_,
              value);
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
