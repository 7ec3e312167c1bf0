// SPDX-License-Identifier: Apache-2.0
#include "core/fused/row_source.h"

#include <algorithm>

namespace attention {
namespace {

// How many of a sequence's visible keys from `key` on, at most `limit`, are
// neighbours.
std::int64_t RunOfKeys(const Sequence& sequence, std::int64_t key,
                       std::int64_t limit) {
  const std::int64_t count = std::min(limit, sequence.num_visible - key);
  if (sequence.visible_keys.empty()) return count;
  const std::int64_t first = sequence.visible_key(key);
  std::int64_t run = 1;
  while (run < count && sequence.visible_key(key + run) == first + run) ++run;
  return run;
}

}  // namespace

RowSource::Run MatrixRows::RunAt(std::int64_t row, std::int64_t limit) const {
  return {rows_.from_row(row), limit};
}

RowSource::Run PassRows::RunAt(std::int64_t row, std::int64_t limit) const {
  const PassSequence& place = *PlaceOf(sequences_, first_, row);
  const Sequence& sequence = *place.sequence;
  const std::int64_t position = row - place.*first_;
  if (part_ == Part::kQuery) {
    return {sequence.query.from_row(position),
            std::min(limit, sequence.query_length - position)};
  }
  const Rows& rows = part_ == Part::kKey ? sequence.key : sequence.value;
  return {rows.from_row(sequence.visible_key(position)),
          RunOfKeys(sequence, position, limit)};
}

}  // namespace attention
