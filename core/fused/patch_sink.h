// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/attention/rows.h"
#include "core/fused/pass_sequence.h"
#include "core/simd/store.h"

namespace attention {

/// Takes the patches of products a projection computes to where they are
/// wanted. Patches of different rows or columns may be stored and accepted at
/// the same time.
class PatchSink {
 public:
  virtual ~PatchSink() = default;

  /// Store a patch whose first element belongs to row `row` of the projection's
  /// rows and to column `column` of its output.
  virtual void Store(std::int64_t row, std::int64_t column,
                     const Patch& patch) const = 0;

  /// A patch of floats that lies in its place.
  struct Place {
    float* values = nullptr;  ///< [rows, stride]; nullptr: there is none
    std::int64_t stride = 0;
  };
  /// Take a patch of `rows` by `columns` at its place, where the caller then
  /// has to write it, its bias added; or have no place for it, if Store() would
  /// do more to it than that. What Store() writes beside the patch is written
  /// here.
  [[nodiscard]] virtual Place Accept(std::int64_t /*row*/,
                                     std::int64_t /*column*/,
                                     std::int64_t /*rows*/,
                                     std::int64_t /*columns*/) const {
    return {};
  }
};

/// Store the rows of a patch, an epilogue applied, in columns from `column` on
/// of as many rows of any floating dtype but float64, which need not be
/// aligned.
void StoreRows(const Patch& patch, Epilogue epilogue, const MutableRows& rows,
               std::int64_t column);

/// Stores rows in a matrix. Lifetime: borrows it.
class MatrixSink final : public PatchSink {
 public:
  explicit MatrixSink(const MutableRows& rows,
                      Epilogue epilogue = Epilogue::kNone)
      : rows_(rows), epilogue_(epilogue) {}

  void Store(std::int64_t row, std::int64_t column,
             const Patch& patch) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;

 private:
  MutableRows rows_;
  Epilogue epilogue_;
};

/// Stores rows, which are the queries of a pass's sequences, as the outputs of
/// these. Lifetime: borrows.
class OutputSink final : public PatchSink {
 public:
  explicit OutputSink(std::span<const PassSequence> sequences)
      : sequences_(sequences) {}

  void Store(std::int64_t row, std::int64_t column,
             const Patch& patch) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;

 private:
  std::span<const PassSequence> sequences_;
};

}  // namespace attention
