// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_pass.h"

#include <algorithm>
#include <cassert>

#include "core/onednn/tile.h"

namespace attention {
namespace {

// Averaged weights leave one thread with all heads of a tile, so tiles are
// lower there.
std::int64_t TileRows(const RequestPlan& request) {
  return request.averages_weights() ? kTileRows / 2 : kTileRows;
}

// Multiplications of one head and `rows` rows.
std::int64_t Operations(const AttentionSpec& spec, const Sequence& sequence,
                        std::int64_t rows) {
  return rows * PackedKeys::PaddedKeys(sequence) *
         (spec.head_dim + spec.value_head_dim);
}

// Multiplications of as many heads as make an item: few enough that there is
// something to share for threads, but some microseconds, beside which claiming
// it costs nothing; and at most some tens, unless every item reads a mask.
ItemOperations ItemOperationsOf(const AttentionSpec& spec,
                                std::span<const Sequence> sequences) {
  constexpr std::int64_t kEnoughItems = 16;
  constexpr std::int64_t kEnoughMaskedItems = 32;
  constexpr std::int64_t kFewest = std::int64_t{1} << 15U;
  constexpr std::int64_t kMost = std::int64_t{1} << 21U;
  constexpr std::int64_t kPlenty = std::int64_t{1} << 40U;
  std::int64_t operations = 0;
  for (const Sequence& sequence : sequences) {
    operations += Operations(spec, sequence, sequence.query_length);
    if (operations >= kPlenty) break;
  }
  const std::int64_t unmasked =
      std::clamp(operations / kEnoughItems * spec.num_heads, kFewest, kMost);
  return {unmasked,
          std::max(unmasked, operations / kEnoughMaskedItems * spec.num_heads)};
}

// What FusedLayout takes for the rows of a sequence.
std::int64_t RowBytes(const AttentionSpec& spec, const PackedKeys& keys,
                      const Sequence& sequence) {
  const auto size = static_cast<std::int64_t>(DataTypeSize(keys.dtype));
  const std::int64_t query_bytes =
      (spec.query_width() + spec.own_context_width()) * size;
  const std::int64_t key_bytes =
      keys.num_heads * (keys.key_depth() + keys.value_columns()) * size;
  return sequence.query_length * query_bytes +
         PackedKeys::PaddedKeys(sequence) * key_bytes;
}

// How a sequence is cut into items.
struct Cut {
  std::int64_t tile_rows = 0;
  std::int64_t rows = 0;  // of an item
  std::int64_t heads = 0;
};

// Tiles of an item. Where a head's keys and values are more than a second-level
// cache holds, each tile by itself would bring them from afar; but there is to
// be something to share for many threads, each tile has memory for masks, and
// where masks are read once for several heads, that is worth more.
std::int64_t NumTiles(const AttentionSpec& spec, const Sequence& sequence) {
  constexpr std::int64_t kFarKeys = 1024;
  constexpr std::int64_t kEnoughItems = 64;
  constexpr std::int64_t kMost = std::int64_t{1} << 28U;  // some milliseconds
  const RequestPlan& request = *sequence.request;
  if (request.need_weights || TileMask::ReadsOnce(sequence) ||
      PackedKeys::PaddedKeys(sequence) < kFarKeys) {
    return 1;
  }
  const std::int64_t tiles =
      (sequence.query_length + kTileRows - 1) / kTileRows * spec.num_heads;
  const std::int64_t enough = std::min(
      tiles / kEnoughItems, kMost / Operations(spec, sequence, kTileRows));
  return std::clamp<std::int64_t>(
      enough, 1, TileMask::NeedsMemory(request) ? kMaxTiles / 2 : kMaxTiles);
}

// Four heads spare three quarters of the reading of a mask, and leave something
// for many threads.
constexpr std::int64_t kMaskedHeads = 4;

Cut CutOf(const AttentionSpec& spec, const Sequence& sequence,
          const ItemOperations& item_operations) {
  const std::int64_t tile_rows = TileRows(*sequence.request);
  const std::int64_t rows = tile_rows * NumTiles(spec, sequence);
  if (sequence.request->averages_weights()) {
    return {tile_rows, rows, spec.num_heads};
  }
  const std::int64_t operations = std::max<std::int64_t>(
      1, Operations(spec, sequence, std::min(sequence.query_length, rows)));
  const auto heads = [&](std::int64_t wanted, std::int64_t most) {
    return std::clamp<std::int64_t>(wanted / operations, 1,
                                    std::min(most, spec.num_heads));
  };
  const std::int64_t unmasked = heads(item_operations.unmasked, spec.num_heads);
  if (!TileMask::ReadsOnce(sequence)) return {tile_rows, rows, unmasked};
  return {tile_rows, rows,
          std::max(unmasked, heads(item_operations.masked, kMaskedHeads))};
}

std::int64_t NumItems(const AttentionSpec& spec, const Sequence& sequence,
                      const ItemOperations& item_operations) {
  const Cut cut = CutOf(spec, sequence, item_operations);
  return (sequence.query_length + cut.rows - 1) / cut.rows *
         ((spec.num_heads + cut.heads - 1) / cut.heads);
}

// Write the items of a sequence, head by head, so that the keys and values of
// one stay in cache; return where the next go.
FusedItem* WriteItems(const AttentionSpec& spec, const PassSequence& place,
                      const ItemOperations& item_operations, FusedItem* item) {
  const Cut cut = CutOf(spec, *place.sequence, item_operations);
  const std::int64_t length = place.sequence->query_length;
  for (std::int64_t head = 0; head < spec.num_heads; head += cut.heads) {
    for (std::int64_t row = 0; row < length; row += cut.rows) {
      *item++ = {{&place, row, std::min(cut.rows, length - row)},
                 cut.tile_rows,
                 head,
                 std::min(cut.heads, spec.num_heads - head)};
    }
  }
  return item;
}

}  // namespace

std::span<const Sequence> TakePass(const AttentionSpec& spec,
                                   const PackedKeys& keys,
                                   std::int64_t pass_bytes,
                                   std::span<const Sequence>& left) {
  assert(!left.empty());
  std::int64_t bytes = 0;
  const auto next = std::ranges::find_if(left, [&](const Sequence& sequence) {
    bytes += RowBytes(spec, keys, sequence);
    return bytes > pass_bytes;
  });
  const auto count = static_cast<std::size_t>(next - left.begin());
  const auto of_pass = left.first(std::max<std::size_t>(count, 1));
  left = left.subspan(of_pass.size());
  return of_pass;
}

FusedExtent::FusedExtent(const AttentionSpec& spec,
                         std::span<const Sequence> of_pass)
    : sequences(of_pass), item_operations(ItemOperationsOf(spec, of_pass)) {
  bool watches = false;
  for (const Sequence& sequence : sequences) {
    num_queries += sequence.query_length;
    num_visible += sequence.num_visible;
    padded_keys += PackedKeys::PaddedKeys(sequence);
    num_items += NumItems(spec, sequence, item_operations);
    watches = watches || TileMask::HidesEnds(*sequence.request);
    tile.Add(sequence,
             std::min(TileRows(*sequence.request), sequence.query_length),
             NumTiles(spec, sequence));
  }
  watched_queries = watches ? num_queries : 0;
}

FusedLayout::FusedLayout(const AttentionSpec& spec, const PackedKeys& keys,
                         const FusedExtent& extent, Carver& carver)
    : sequences(carver.Take<PassSequence>(
          static_cast<std::int64_t>(extent.sequences.size()))),
      items(carver.Take<FusedItem>(extent.num_items)) {
  const auto size = static_cast<std::int64_t>(DataTypeSize(keys.dtype));
  const auto take = [&](std::int64_t elements) {
    return carver.Take<std::byte>(elements * size).data();
  };
  matrices.keys = keys;
  matrices.keys.sequences = sequences;
  matrices.keys.non_finite_queries =
      carver.Take<std::uint8_t>(extent.watched_queries);
  matrices.keys.keys =
      take(extent.padded_keys * keys.num_heads * keys.key_depth());
  matrices.keys.values =
      take(extent.padded_keys * keys.num_heads * keys.value_columns());
  matrices.query = take(extent.num_queries * spec.query_width());
  // The context of a row and head takes the place of its queries.
  const std::int64_t context_width = spec.own_context_width();
  matrices.context = context_width > 0
                         ? take(extent.num_queries * context_width)
                         : matrices.query;
}

void FusedLayout::Fill(const AttentionSpec& spec, const FusedExtent& extent) {
  const PackedKeys& keys = matrices.keys;
  std::ranges::fill(keys.non_finite_queries, std::uint8_t{0});
  PassSequence next;
  FusedItem* item = items.data();
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const Sequence& sequence = extent.sequences[s];
    next.sequence = &sequence;
    next.padded_keys = PackedKeys::PaddedKeys(sequence);
    if (keys.watches_finite()) {
      next.non_finite_queries =
          keys.non_finite_queries.data() + next.first_query;
    }
    sequences[s] = next;
    item = WriteItems(spec, sequences[s], extent.item_operations, item);
    next.first_query += sequence.query_length;
    next.first_key += sequence.num_visible;
    next.key_offset += next.padded_keys;
  }
}

}  // namespace attention
