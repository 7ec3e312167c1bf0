// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/attention/places.h"
#include "core/attention/request_plan.h"

namespace attention {

/// One sequence of a pass: where its rows stand among the pass's.
struct PassSequence {
  const Sequence* sequence = nullptr;
  std::int64_t first_query = 0;  ///< among the query rows of the pass
  std::int64_t first_key = 0;    ///< among the visible keys of the pass
  std::int64_t key_offset = 0;   ///< padded keys of the sequences before it
  std::int64_t padded_keys = 0;  ///< see PackedKeys

  // Kept where PackedKeys::watches_finite() says so, known once all is stored.
  // Not finite is also what becomes infinite in bfloat16.
  /// One behind its last score column whose key or value is not finite.
  std::int64_t non_finite_end = 0;
  /// [query_length]: whether a query is not finite.
  const std::uint8_t* non_finite_queries = nullptr;

  [[nodiscard]] const RequestPlan& request() const {
    return *sequence->request;
  }
};

}  // namespace attention
