// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>

#include "core/attention/request_plan.h"
#include "core/attention/rows.h"

namespace attention {

// Which sequence a row of a pass is of. A place says where the rows of one
// sequence stand among the pass's: a struct with the sequence and, for each
// sort of rows, the number of them before it. Places are contiguous, in the
// order of the sequences; behind them may stand one without a sequence, where
// the last one ends.

/// The place that row `row` belongs to, of the rows that `first` counts: the
/// last one that begins there or before. Of several that begin there, all but
/// that one are without such rows. Requires one that does.
template <typename Places, typename Place>
[[nodiscard]] auto* PlaceOf(const Places& places, std::int64_t Place::* first,
                            std::int64_t row) {
  const auto behind = std::ranges::upper_bound(places, row, {}, first);
  assert(behind != places.begin());
  return &*(behind - 1);
}

/// Call `visit(place, position, row)` for rows that `first` counts, each of
/// which is row `position` of the place's sequence.
template <typename Places, typename Place, typename Visit>
void ForEachRow(const Places& places, std::int64_t Place::* first,
                const RowRange& rows, const Visit& visit) {
  const Place* place = PlaceOf(places, first, rows.first);
  const Place* last = places.data() + places.size() - 1;
  for (std::int64_t row = rows.first; row < rows.end(); ++row) {
    while (place != last && place[1].*first <= row) ++place;
    visit(*place, row - place->*first, row);
  }
}

/// Whether nobody waits any more for any sequence that rows, which `first`
/// counts, belong to.
template <typename Places, typename Place>
[[nodiscard]] bool AllStopped(const Places& places, std::int64_t Place::* first,
                              const RowRange& rows) {
  const Place* end = places.data() + places.size();
  for (const Place* place = PlaceOf(places, first, rows.first);
       place != end && place->*first < rows.end(); ++place) {
    if (!place->sequence->request->StopRequested()) return false;
  }
  return true;
}

}  // namespace attention
