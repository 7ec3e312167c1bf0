// SPDX-License-Identifier: Apache-2.0
#include "core/fused/row_source.h"

namespace attention {
namespace {

Rows From(Rows rows, std::int64_t first) {
  rows.data = rows.row(first);
  return rows;
}

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
  return {From(rows_, row), limit};
}

RowSource::Run PassRows::RunAt(std::int64_t row, std::int64_t limit) const {
  if (part_ == Part::kQuery) {
    const PassSequence& place = SequenceOfQuery(sequences_, row);
    const std::int64_t first = row - place.first_query;
    return {From(place.sequence->query, first),
            std::min(limit, place.sequence->query_length - first)};
  }
  const PassSequence& place = SequenceOfKey(sequences_, row);
  const Sequence& sequence = *place.sequence;
  const std::int64_t key = row - place.first_key;
  return {From(part_ == Part::kKey ? sequence.key : sequence.value,
               sequence.visible_key(key)),
          RunOfKeys(sequence, key, limit)};
}

bool AllStopped(std::span<const PassSequence> sequences, PassRows::Part part,
                std::int64_t row, std::int64_t count) {
  const bool is_query = part == PassRows::Part::kQuery;
  const PassSequence* place = is_query ? &SequenceOfQuery(sequences, row)
                                       : &SequenceOfKey(sequences, row);
  const PassSequence* end = sequences.data() + sequences.size();
  for (; place != end; ++place) {
    const std::int64_t first = is_query ? place->first_query : place->first_key;
    if (first >= row + count) break;
    if (!place->request().StopRequested()) return false;
  }
  return true;
}

}  // namespace attention
