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
std::int64_t KeptBlocks(const Sequence& sequence) {
  if (!sequence.request->need_weights) return 1;
  return std::max<std::int64_t>(
      (sequence.num_columns() + kBlockKeys - 1) / kBlockKeys, 1);
}

}  // namespace

void TileExtent::Add(const Sequence& sequence, std::int64_t tile_rows,
                     std::int64_t num_tiles) {
  const RequestPlan& request = *sequence.request;
  tiles = std::max(tiles, num_tiles);
  rows = std::max(rows, tile_rows);
  kept_blocks = std::max(kept_blocks, KeptBlocks(sequence));
  if (TileMask::NeedsMemory(request)) {
    mask_columns = std::max(mask_columns, PackedKeys::PaddedKeys(sequence));
    mask_line = std::max(mask_line, request.max_key_length);
  }
  weights = std::max(weights, WeightsSink::MemorySize(request, tile_rows));
  drops = drops || request.dropout > 0.0;
}

TileMemory::TileMemory(const PackedKeys& keys, const TileExtent& extent,
                       const TileMemory* shared, Carver& carver)
    : rows(extent.rows) {
  const std::int64_t blocks = extent.kept_blocks;
  const bool is_bf16 = keys.dtype == DataType::kBFloat16;
  mask = {.line = carver.Take<float>(extent.mask_line),
          .ends = carver.Take<std::int64_t>(rows),
          .mask = carver.Take<float>(rows * extent.mask_columns)};
  weights = carver.Take<float>(extent.weights);
  query = carver.Take<std::byte>(
      rows * keys.key_depth() *
      static_cast<std::int64_t>(DataTypeSize(keys.dtype)));
  block_maxima = carver.Take<float>(blocks * rows);
  const auto take = [&](RunningRows& part) {
    part.stride = keys.value_columns();
    part.values = carver.Take<float>(rows * part.stride).data();
    part.maxima = carver.Take<float>(rows).data();
    part.sums = carver.Take<float>(rows).data();
  };
  take(running);
  if (shared != nullptr) {
    scores = shared->scores;
    bf16 = shared->bf16;
    dropped = shared->dropped;
    limits = shared->limits;
    block = shared->block;
    return;
  }
  scores = carver.Take<float>(blocks * rows * kBlockKeys);
  bf16 = carver.Take<std::uint16_t>(is_bf16 ? rows * kBlockKeys : 0);
  dropped = carver.Take<float>(extent.drops ? rows * kBlockKeys : 0);
  limits = carver.Take<std::int64_t>(rows);
  take(block);
}

ItemMemory::ItemMemory(const PackedKeys& keys, const TileExtent& extent,
                       Carver& carver) {
  for (std::int64_t t = 0; t < extent.tiles; ++t) {
    tiles[static_cast<std::size_t>(t)].emplace(
        keys, extent, t == 0 ? nullptr : &*tiles.front(), carver);
  }
}

FusedTileComputer::FusedTileComputer(const Task& task, const FusedItem& item,
                                     const QueryTile& tile,
                                     const TileMemory& memory)
    : spec_(task.spec),
      kernels_(task.kernels),
      matrices_(task.matrices),
      keys_(task.matrices.keys),
      item_(item),
      tile_(tile),
      sequence_(*tile.place->sequence),
      request_(*sequence_.request),
      memory_(memory),
      mask_(memory.mask),
      weights_(tile, memory.weights),
      dropout_(request_, task.layer, DropoutSite::kWeights) {}

// For each block b of keys, with the sums and products over its columns j:
//
//   S = Q K_b^T,  T = scale S + M,  m_b = max_j T_j
//   P = e^(T - m_b),  l_b = sum_j P_j,  O_b = P V_b
//
// merged in ascending order: with m' = max(m, m_b), a = e^(m - m') and
// c = e^(m_b - m'), l becomes a l + c l_b, and O a O + c O_b. Then O / l.
void FusedTileComputer::BeginHead(std::int64_t head) {
  LoadQueries(head);
  mask_.Read(tile_, head);
}

void FusedTileComputer::ComputeBlock(std::int64_t head, std::int64_t first) {
  const RunningRows& rows = first == 0 ? memory_.running : memory_.block;
  const Block block = BlockAt(first);
  ComputeScores(head, block);
  ComputeSoftmax(block, rows);
  MultiplyValues(head, block, rows);
  if (first > 0) {
    MergeBlock(tile_.num_rows, rows.stride, memory_.running, memory_.block);
  }
}

void FusedTileComputer::EndHead(std::int64_t head) {
  StoreContext(head);
  if (request_.need_weights) KeepWeights(head);
}

// The queries of one head: where they lie if they are read but once, else
// contiguous, as their lines compete for the same places in the L1 cache; with
// a zero behind an odd D of bfloat16.
void FusedTileComputer::LoadQueries(std::int64_t head) {
  const auto size = static_cast<std::int64_t>(DataTypeSize(keys_.dtype));
  const std::int64_t width = spec_.query_width() * size;
  const std::int64_t used = spec_.head_dim * size;
  const std::int64_t depth = keys_.key_depth() * size;
  const std::byte* from = matrices_.query +
                          (tile_.place->first_query + tile_.first_row) * width +
                          head * used;
  if (keys_.dtype == DataType::kFloat32 &&
      tile_.place->padded_keys <= kPageKeys) {
    queries_ = {from, tile_.num_rows, spec_.query_width()};
    return;
  }
  std::byte* to = memory_.query.data();
  queries_ = {to, tile_.num_rows, keys_.key_depth()};
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    std::memcpy(to, from, static_cast<std::size_t>(used));
    std::memset(to + used, 0, static_cast<std::size_t>(depth - used));
    from += width;
    to += depth;
  }
}

FusedTileComputer::Block FusedTileComputer::BlockAt(std::int64_t first) const {
  // Whole pages, as far as any row sees.
  const std::int64_t seen =
      std::min(RoundUp(mask_.end(), kPageKeys), tile_.place->padded_keys);
  const std::int64_t index = first / kBlockKeys;
  return {
      .index = index,
      .first = first,
      .width = std::min(kBlockKeys, seen - first),
      .scores = memory_.scores.data() + (request_.need_weights ? index : 0) *
                                            memory_.rows * kBlockKeys};
}

FusedKernels::Block FusedTileComputer::KeysOf(const Block& block,
                                              std::int64_t head) const {
  return {.packed = keys_,
          .sequence = *tile_.place,
          .head = head / (spec_.num_heads / spec_.num_key_value_heads),
          .first = block.first,
          .width = block.width};
}

void FusedTileComputer::ComputeScores(std::int64_t head, const Block& block) {
  kernels_.MultiplyKeys(queries_, KeysOf(block, head), block.scores);
  if (request_.row_valid_lens && request_.replaces_scores) {
    ReplaceScores(block);
  }
}

// d2l's padding: scores behind a row's length become AttentionSpec's
// kReplacedScore, which SoftmaxBlock comes to by scaling.
void FusedTileComputer::ReplaceScores(const Block& block) {
  const auto replaced =
      static_cast<float>(AttentionSpec::kReplacedScore / spec_.scale);
  const std::int64_t end =
      std::min(block.first + block.width, sequence_.num_visible);
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    const std::int64_t from =
        std::max(FirstReplaced(sequence_, tile_.first_row + i), block.first);
    float* scores = block.scores + i * kBlockKeys;
    for (std::int64_t k = from; k < end; ++k) {
      scores[k - block.first] = replaced;
    }
  }
}

void FusedTileComputer::ComputeSoftmax(const Block& block,
                                       const RunningRows& rows) {
  mask_.Limits(block.first, block.width, memory_.limits);
  SoftmaxBlock({.scores = block.scores,
                .stride = kBlockKeys,
                .rows = tile_.num_rows,
                .width = block.width,
                .limits = memory_.limits.data(),
                .mask = mask_.mask(block.first),
                .mask_stride = mask_.mask_stride(),
                .scale = static_cast<float>(spec_.scale),
                .maxima = rows.maxima,
                .sums = rows.sums,
                .bf16 = memory_.bf16.empty() ? nullptr : memory_.bf16.data()});
  if (!request_.need_weights) return;
  std::copy_n(rows.maxima, tile_.num_rows,
              memory_.block_maxima.data() + block.index * memory_.rows);
}

// Drop weights out of a block; return the operand of the multiplication.
const std::byte* FusedTileComputer::DropOut(std::int64_t head,
                                            const Block& block) {
  const bool keeps_first = request_.wants_weights_before_dropout();
  float* weights = keeps_first ? memory_.dropped.data() : block.scores;
  const auto count = static_cast<std::size_t>(
      std::min(block.width, sequence_.num_columns() - block.first));
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    float* row = weights + i * kBlockKeys;
    if (keeps_first) {
      std::copy_n(block.scores + i * kBlockKeys, block.width, row);
    }
    dropout_.Apply({sequence_, head, tile_.first_row + i, block.first},
                   std::span(row, count));
    if (memory_.bf16.empty()) continue;
    FloatToBf16(row, static_cast<std::size_t>(block.width),
                memory_.bf16.data() + i * kBlockKeys);
  }
  return memory_.bf16.empty()
             ? reinterpret_cast<const std::byte*>(weights)
             : reinterpret_cast<const std::byte*>(memory_.bf16.data());
}

void FusedTileComputer::MultiplyValues(std::int64_t head, const Block& block,
                                       const RunningRows& rows) {
  const auto* weights = reinterpret_cast<const std::byte*>(block.scores);
  if (!memory_.bf16.empty()) {
    weights = reinterpret_cast<const std::byte*>(memory_.bf16.data());
  }
  if (dropout_.active()) weights = DropOut(head, block);
  kernels_.MultiplyValues(tile_.num_rows, weights, KeysOf(block, head),
                          rows.values);
}

std::byte* FusedTileComputer::ContextRow(std::int64_t head) const {
  const std::int64_t element =
      (tile_.place->first_query + tile_.first_row) * spec_.output_width() +
      head * spec_.value_head_dim;
  return matrices_.context +
         static_cast<std::size_t>(element) * DataTypeSize(keys_.dtype);
}

void FusedTileComputer::StoreContext(std::int64_t head) {
  std::byte* to = ContextRow(head);
  const bool is_bf16 = keys_.dtype == DataType::kBFloat16;
  FinishRows(tile_.num_rows, spec_.value_head_dim, memory_.running,
             {.floats = is_bf16 ? nullptr : reinterpret_cast<float*>(to),
              .bf16 = is_bf16 ? reinterpret_cast<std::uint16_t*>(to) : nullptr,
              .stride = spec_.output_width(),
              .masked_is_nan = request_.masked_rows_are_nan});
}

void FusedTileComputer::KeepWeights(std::int64_t head) {
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    weights_.Store(
        head, i,
        {.weights = memory_.scores.data() + i * kBlockKeys,
         .block_stride = memory_.rows * kBlockKeys,
         .maxima = memory_.block_maxima.data() + i,
         .maxima_stride = memory_.rows,
         .num_columns = std::min(mask_.end(), sequence_.num_columns()),
         .maximum = memory_.running.maxima[i],
         .sum = memory_.running.sums[i]});
  }
}

void FusedTileComputer::FillWithoutColumns() {
  // Without any key at all there is nothing that could be masked.
  const bool masked = sequence_.key_length > 0;
  const float value = masked ? MaskedWeight(request_) : 0.0F;
  std::fill_n(memory_.running.values, tile_.num_rows * memory_.running.stride,
              value);
  std::fill_n(memory_.running.sums, tile_.num_rows, 1.0F);
  for (std::int64_t h = 0; h < item_.num_heads; ++h) {
    StoreContext(item_.first_head + h);
    if (request_.need_weights) {
      weights_.Fill(item_.first_head + h, value);
    }
  }
  weights_.Finish();
}

void ComputeFusedItem(const FusedTileComputer::Task& task,
                      const FusedItem& item, const ItemMemory& memory) {
  std::array<std::optional<FusedTileComputer>, kMaxTiles> computers;
  std::size_t num_tiles = 0;
  for (std::int64_t row = 0; row < item.rows.num_rows; row += item.tile_rows) {
    const QueryTile tile = {item.rows.place, item.rows.first_row + row,
                            std::min(item.tile_rows, item.rows.num_rows - row)};
    computers[num_tiles].emplace(task, item, tile, *memory.tiles[num_tiles]);
    ++num_tiles;
  }
  const auto tiles = std::span(computers).first(num_tiles);
  const auto for_each = [&](const auto& visit) {
    for (std::optional<FusedTileComputer>& tile : tiles) visit(*tile);
  };
  if (item.rows.place->padded_keys == 0) {
    return for_each([](FusedTileComputer& t) { t.FillWithoutColumns(); });
  }
  const std::int64_t end = item.first_head + item.num_heads;
  for (std::int64_t head = item.first_head; head < end; ++head) {
    for_each([&](FusedTileComputer& t) { t.BeginHead(head); });
    bool seen = true;
    for (std::int64_t first = 0; seen; first += kBlockKeys) {
      seen = false;
      for_each([&](FusedTileComputer& t) {
        if (!t.Sees(first)) return;
        t.ComputeBlock(head, first);
        seen = true;
      });
    }
    for_each([&](FusedTileComputer& t) { t.EndHead(head); });
  }
  for_each([](FusedTileComputer& t) { t.Finish(); });
}

}  // namespace attention
