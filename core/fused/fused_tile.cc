// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/simd/convert.h"
#include "core/tensor/round_up.h"

namespace attention {
namespace {

// Blocks of scores that are kept until a row's sum is known.
std::int64_t KeptBlocks(const PackedBatch& batch, std::int64_t max_columns) {
  return batch.need_weights
             ? std::max<std::int64_t>(
                   (max_columns + kBlockKeys - 1) / kBlockKeys, 1)
             : 1;
}

}  // namespace

FusedTileComputer::FusedTileComputer(const Task& task, const Extent& extent,
                                     Carver& carver)
    : spec_(task.spec),
      kernels_(task.kernels),
      batch_(task.batch),
      matrices_(task.matrices),
      keys_(task.matrices.keys),
      extent_(extent),
      mask_(task.batch, extent.tile_rows, extent.max_columns, carver),
      weights_(task.batch, task.outputs, extent.tile_rows, carver),
      dropout_(task.batch, DropoutSite::kWeights) {
  const std::int64_t rows = extent.tile_rows;
  const std::int64_t blocks = KeptBlocks(batch_, extent.max_columns);
  const bool is_bf16 = keys_.dtype == DataType::kBFloat16;
  query_ = carver.Take<std::byte>(
      rows * keys_.key_depth() *
      static_cast<std::int64_t>(DataTypeSize(keys_.dtype)));
  scores_ = carver.Take<float>(blocks * rows * kBlockKeys);
  bf16_ = carver.Take<std::uint16_t>(is_bf16 ? rows * kBlockKeys : 0);
  dropped_ = carver.Take<float>(dropout_.active() ? rows * kBlockKeys : 0);
  limits_ = carver.Take<std::int64_t>(rows);
  block_maxima_ = carver.Take<float>(blocks * rows);
  for (RunningRows* part : {&running_, &block_}) {
    part->stride = keys_.value_columns();
    part->values = carver.Take<float>(rows * part->stride).data();
    part->maxima = carver.Take<float>(rows).data();
    part->sums = carver.Take<float>(rows).data();
  }
}

void FusedTileComputer::Compute(const FusedItem& item) {
  if (item.tile.place->padded_keys == 0) return FillWithoutColumns(item);
  const std::int64_t end = item.first_head + item.num_heads;
  for (std::int64_t head = item.first_head; head < end; ++head) {
    ComputeHead(item.tile, head);
  }
  weights_.Finish(item.tile);
}

// For each block b of keys, with the sums and products over its columns j:
//
//   S = Q K_b^T,  T = scale S + M,  m_b = max_j T_j
//   P = e^(T - m_b),  l_b = sum_j P_j,  O_b = P V_b
//
// merged in ascending order: with m' = max(m, m_b), a = e^(m - m') and
// c = e^(m_b - m'), l becomes a l + c l_b, and O a O + c O_b. Then O / l.
void FusedTileComputer::ComputeHead(const QueryTile& tile, std::int64_t head) {
  LoadQueries(tile, head);
  mask_.Read(tile, head);
  std::int64_t first = 0;
  do {
    const RunningRows& rows = first == 0 ? running_ : block_;
    const Block block = BlockAt(tile, first);
    ComputeScores(tile, head, block);
    ComputeSoftmax(tile, block, rows);
    MultiplyValues(tile, head, block, rows);
    if (first > 0) {
      MergeBlock(tile.num_rows, rows.stride, running_, block_);
    }
    first += kBlockKeys;
  } while (first < mask_.end());
  StoreContext(tile, head);
  if (batch_.need_weights) KeepWeights(tile, head);
}

// The queries of one head: where they lie if they are read but once, else
// contiguous, as their lines compete for the same places in the L1 cache; with
// a zero behind an odd D of bfloat16.
void FusedTileComputer::LoadQueries(const QueryTile& tile, std::int64_t head) {
  const auto size = static_cast<std::int64_t>(DataTypeSize(keys_.dtype));
  const std::int64_t width = spec_.query_width() * size;
  const std::int64_t used = spec_.head_dim * size;
  const std::int64_t depth = keys_.key_depth() * size;
  const std::byte* from = matrices_.query +
                          (tile.place->first_query + tile.first_row) * width +
                          head * used;
  if (keys_.dtype == DataType::kFloat32 &&
      tile.place->padded_keys <= kChunkKeys) {
    queries_ = {from, tile.num_rows, spec_.query_width()};
    return;
  }
  std::byte* to = query_.data();
  queries_ = {to, tile.num_rows, keys_.key_depth()};
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    std::memcpy(to, from, static_cast<std::size_t>(used));
    std::memset(to + used, 0, static_cast<std::size_t>(depth - used));
    from += width;
    to += depth;
  }
}

FusedTileComputer::Block FusedTileComputer::BlockAt(const QueryTile& tile,
                                                    std::int64_t first) const {
  // Whole chunks, as far as any row sees.
  const std::int64_t seen =
      std::min(RoundUp(mask_.end(), kChunkKeys), tile.place->padded_keys);
  const std::int64_t index = first / kBlockKeys;
  return {.index = index,
          .first = first,
          .width = std::min(kBlockKeys, seen - first),
          .scores = scores_.data() + (batch_.need_weights ? index : 0) *
                                         extent_.tile_rows * kBlockKeys};
}

void FusedTileComputer::ComputeScores(const QueryTile& tile, std::int64_t head,
                                      const Block& block) {
  kernels_.MultiplyKeys(
      queries_,
      keys_.keys_of(*tile.place, key_head(head), block.first / kChunkKeys),
      block.width, block.scores);
  if (batch_.row_valid_lens && batch_.replaces_scores) {
    ReplaceScores(tile, block);
  }
}

// d2l's padding: scores behind a row's length become AttentionSpec's
// kReplacedScore, which SoftmaxBlock comes to by scaling.
void FusedTileComputer::ReplaceScores(const QueryTile& tile,
                                      const Block& block) {
  const Sequence& sequence = *tile.place->sequence;
  const auto replaced =
      static_cast<float>(AttentionSpec::kReplacedScore / spec_.scale);
  const std::int64_t end =
      std::min(block.first + block.width, sequence.num_visible);
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    const std::int64_t from = std::max(
        FirstReplaced(batch_, sequence, tile.first_row + i), block.first);
    float* scores = block.scores + i * kBlockKeys;
    for (std::int64_t k = from; k < end; ++k) {
      scores[k - block.first] = replaced;
    }
  }
}

void FusedTileComputer::ComputeSoftmax(const QueryTile& tile,
                                       const Block& block,
                                       const RunningRows& rows) {
  mask_.Limits(block.first, block.width, limits_);
  SoftmaxBlock({.scores = block.scores,
                .stride = kBlockKeys,
                .rows = tile.num_rows,
                .width = block.width,
                .limits = limits_.data(),
                .mask = mask_.mask(block.first),
                .mask_stride = mask_.mask_stride(),
                .scale = static_cast<float>(spec_.scale),
                .maxima = rows.maxima,
                .sums = rows.sums,
                .bf16 = bf16_.empty() ? nullptr : bf16_.data()});
  if (!batch_.need_weights) return;
  std::copy_n(rows.maxima, tile.num_rows,
              block_maxima_.data() + block.index * extent_.tile_rows);
}

// Drop weights out of a block; return the operand of the multiplication.
const std::byte* FusedTileComputer::DropOut(const QueryTile& tile,
                                            std::int64_t head,
                                            const Block& block) {
  const bool keeps_first = batch_.need_weights && batch_.weights_before_dropout;
  float* weights = keeps_first ? dropped_.data() : block.scores;
  const Sequence& sequence = *tile.place->sequence;
  const auto count = static_cast<std::size_t>(
      std::min(block.width, sequence.num_columns() - block.first));
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    float* row = weights + i * kBlockKeys;
    if (keeps_first) {
      std::copy_n(block.scores + i * kBlockKeys, block.width, row);
    }
    dropout_.Apply({sequence, head, tile.first_row + i, block.first},
                   std::span(row, count));
    if (bf16_.empty()) continue;
    FloatToBf16(row, static_cast<std::size_t>(block.width),
                bf16_.data() + i * kBlockKeys);
  }
  return bf16_.empty() ? reinterpret_cast<const std::byte*>(weights)
                       : reinterpret_cast<const std::byte*>(bf16_.data());
}

void FusedTileComputer::MultiplyValues(const QueryTile& tile, std::int64_t head,
                                       const Block& block,
                                       const RunningRows& rows) {
  const auto* weights = reinterpret_cast<const std::byte*>(block.scores);
  if (!bf16_.empty()) {
    weights = reinterpret_cast<const std::byte*>(bf16_.data());
  }
  if (dropout_.active()) weights = DropOut(tile, head, block);
  kernels_.MultiplyValues(
      tile.num_rows, weights,
      keys_.values_of(*tile.place, key_head(head), block.first / kChunkKeys),
      block.width, rows.values);
}

std::byte* FusedTileComputer::ContextRow(const QueryTile& tile,
                                         std::int64_t head) const {
  const std::int64_t element =
      (tile.place->first_query + tile.first_row) * spec_.output_width() +
      head * spec_.value_head_dim;
  return matrices_.context +
         static_cast<std::size_t>(element) * DataTypeSize(keys_.dtype);
}

void FusedTileComputer::StoreContext(const QueryTile& tile, std::int64_t head) {
  std::byte* to = ContextRow(tile, head);
  const bool is_bf16 = keys_.dtype == DataType::kBFloat16;
  FinishRows(tile.num_rows, spec_.value_head_dim, running_,
             {.floats = is_bf16 ? nullptr : reinterpret_cast<float*>(to),
              .bf16 = is_bf16 ? reinterpret_cast<std::uint16_t*>(to) : nullptr,
              .stride = spec_.output_width(),
              .masked_is_nan = batch_.masked_rows_are_nan});
}

void FusedTileComputer::KeepWeights(const QueryTile& tile, std::int64_t head) {
  for (std::int64_t i = 0; i < tile.num_rows; ++i) {
    weights_.Store(tile, head, i,
                   {.weights = scores_.data() + i * kBlockKeys,
                    .block_stride = extent_.tile_rows * kBlockKeys,
                    .maxima = block_maxima_.data() + i,
                    .maxima_stride = extent_.tile_rows,
                    .num_columns = std::min(
                        mask_.end(), tile.place->sequence->num_columns()),
                    .maximum = running_.maxima[i],
                    .sum = running_.sums[i]});
  }
}

// A sequence of which no key is visible, and to which none is appended.
void FusedTileComputer::FillWithoutColumns(const FusedItem& item) {
  // Without any key at all there is nothing that could be masked.
  const bool masked = item.tile.place->sequence->key_length > 0;
  const float value = masked ? MaskedWeight(batch_) : 0.0F;
  std::fill_n(running_.values, item.tile.num_rows * running_.stride, value);
  std::fill_n(running_.sums, item.tile.num_rows, 1.0F);
  for (std::int64_t h = 0; h < item.num_heads; ++h) {
    StoreContext(item.tile, item.first_head + h);
    if (batch_.need_weights) {
      weights_.Fill(item.tile, item.first_head + h, value);
    }
  }
  weights_.Finish(item.tile);
}

}  // namespace attention
