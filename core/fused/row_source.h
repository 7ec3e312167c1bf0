// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/rows.h"
#include "core/fused/pass_sequence.h"

namespace attention {

/// The rows a projection reads, numbered from 0, wherever they lie.
/// Thread-safe.
class RowSource {
 public:
  virtual ~RowSource() = default;

  [[nodiscard]] virtual std::int64_t num_rows() const = 0;

  /// Rows that lie one `rows.step` behind the other.
  struct Run {
    Rows rows;
    std::int64_t count = 0;
  };
  /// The run that begins with row `row`: at least one row of it, at most
  /// `limit`.
  [[nodiscard]] virtual Run RunAt(std::int64_t row,
                                  std::int64_t limit) const = 0;
};

/// Call `visit(run, first)` for the runs of rows of a source, `first` counting
/// from the first of them.
template <typename Visit>
void ForEachRun(const RowSource& source, const RowRange& rows,
                const Visit& visit) {
  for (std::int64_t first = 0; first < rows.count;) {
    const RowSource::Run run =
        source.RunAt(rows.first + first, rows.count - first);
    visit(run, first);
    first += run.count;
  }
}

/// The rows of a matrix.
class MatrixRows final : public RowSource {
 public:
  MatrixRows(const Rows& rows, std::int64_t num_rows)
      : rows_(rows), num_rows_(num_rows) {}

  [[nodiscard]] std::int64_t num_rows() const override { return num_rows_; }
  [[nodiscard]] Run RunAt(std::int64_t row, std::int64_t limit) const override;

 private:
  Rows rows_;
  std::int64_t num_rows_;
};

/// The query rows of a pass's sequences, or their visible keys or values, where
/// their requests have them. Lifetime: borrows the sequences.
class PassRows final : public RowSource {
 public:
  enum class Part : std::uint8_t { kQuery, kKey, kValue };

  PassRows(std::span<const PassSequence> sequences, Part part,
           std::int64_t num_rows)
      : sequences_(sequences),
        part_(part),
        first_(part == Part::kQuery ? &PassSequence::first_query
                                    : &PassSequence::first_key),
        num_rows_(num_rows) {}

  [[nodiscard]] std::int64_t num_rows() const override { return num_rows_; }
  [[nodiscard]] Run RunAt(std::int64_t row, std::int64_t limit) const override;
  /// Whether nobody waits any more for any of these rows.
  [[nodiscard]] bool AllStopped(const RowRange& rows) const {
    return attention::AllStopped(sequences_, first_, rows);
  }

 private:
  std::span<const PassSequence> sequences_;
  Part part_;
  std::int64_t PassSequence::* first_;  // what counts the part's rows
  std::int64_t num_rows_;
};

}  // namespace attention
