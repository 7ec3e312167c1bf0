// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/simd/store.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Takes the tiles a projection computes to where they are wanted. Tiles of
/// different rows or columns may be stored and accepted at the same time.
class TileSink {
 public:
  virtual ~TileSink() = default;

  /// Store a tile whose first element belongs to row `row` of the projection's
  /// rows and to column `column` of its output.
  virtual void Store(std::int64_t row, std::int64_t column,
                     const Tile& tile) const = 0;

  /// A tile of floats that lies in its place.
  struct Place {
    float* values = nullptr;  ///< [rows, stride]; nullptr: there is none
    std::int64_t stride = 0;
  };
  /// Take a tile of `rows` by `columns` at its place, where the caller then has
  /// to write it, its bias added; or have no place for it, if Store() would do
  /// more to it than that. What Store() writes beside the tile is written here.
  [[nodiscard]] virtual Place Accept(std::int64_t /*row*/,
                                     std::int64_t /*column*/,
                                     std::int64_t /*rows*/,
                                     std::int64_t /*columns*/) const {
    return {};
  }
};

/// Stores row t of a projection, its epilogue applied, as row targets[t] of a
/// matrix of any floating dtype but float64, which need not be aligned.
class RowSink final : public TileSink {
 public:
  /// Lifetime: borrows both.
  RowSink(const MutableTensorView& matrix,
          std::span<const std::int64_t> targets,
          Epilogue epilogue = Epilogue::kNone)
      : matrix_(matrix), targets_(targets), epilogue_(epilogue) {}

  void Store(std::int64_t row, std::int64_t column,
             const Tile& tile) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;

 private:
  // How many of `rows` rows from `row` on are neighbours in the matrix as well.
  [[nodiscard]] std::int64_t RunLength(std::int64_t row,
                                       std::int64_t rows) const;
  void StoreRows(std::int64_t target, std::int64_t column,
                 const Tile& tile) const;

  const MutableTensorView& matrix_;
  std::span<const std::int64_t> targets_;
  Epilogue epilogue_;
};

}  // namespace attention
