// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/attention/packed_batch.h"

namespace attention {

/// Rows a sequence takes in the packed matrices, padding included.
struct PackedExtent {
  std::int64_t query_rows = 0;
  std::int64_t key_rows = 0;
};
[[nodiscard]] PackedExtent ExtentOf(const Sequence& sequence);

/// Where one sequence's rows lie in the packed matrices.
struct PackedSequence {
  const Sequence* sequence = nullptr;
  /// First of its rows of the query matrix.
  std::int64_t query_offset = 0;
  /// First of its padded_columns rows of the key and value matrices.
  std::int64_t key_offset = 0;
  /// num_columns() rounded up; rows behind the last column are zeros.
  std::int64_t padded_columns = 0;
};

/// How the rows of a batch are laid out in the packed matrices a pass works in:
/// query [query_rows, E], overwritten by the context; key and value
/// [key_rows, E]. Each sequence's rows are consecutive and padded to what the
/// kernels take, so that tiles and scores need no special cases at their ends.
/// Lifetime: borrows the batch.
struct PackedRows {
  explicit PackedRows(const PackedBatch& batch);

  std::vector<PackedSequence> sequences;
  std::int64_t query_rows = 0;
  std::int64_t key_rows = 0;

  /// Row query_sources[t] of the request's query (and of its output) is row
  /// query_targets[t] of the packed matrix.
  std::vector<std::int64_t> query_sources;
  std::vector<std::int64_t> query_targets;
  /// The same for the visible keys and values.
  std::vector<std::int64_t> key_sources;
  std::vector<std::int64_t> key_targets;
};

}  // namespace attention
