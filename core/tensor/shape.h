// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace attention {

/// Dimensions of a dense row-major tensor, outermost first.
///
/// Invariants: at most kMaxRank dimensions, each in [0, kMaxDim], and the
/// product of the non-zero ones at most kMaxElements, so that any count of
/// elements or bytes derived from a Shape fits an int64_t.
/// A value type. Thread-compatible.
class Shape {
 public:
  static constexpr std::size_t kMaxRank = 8;
  static constexpr std::int64_t kMaxDim = (std::int64_t{1} << 31) - 1;
  static constexpr std::int64_t kMaxElements = std::int64_t{1} << 56;

  /// A scalar: no dimensions, one element.
  Shape() = default;

  /// Make a shape from trusted dimensions; breaking an invariant is a
  /// programming error (asserted).
  Shape(std::initializer_list<std::int64_t> dims);

  /// Make a shape from untrusted dimensions.
  /// \return INVALID_ARGUMENT when an invariant does not hold.
  [[nodiscard]] static absl::StatusOr<Shape> Create(
      std::span<const std::int64_t> dims);

  [[nodiscard]] std::size_t rank() const { return rank_; }
  [[nodiscard]] std::int64_t dim(std::size_t axis) const { return dims_[axis]; }
  /// Last dimension; the rank must be at least 1.
  [[nodiscard]] std::int64_t back() const { return dims_[rank_ - 1]; }
  [[nodiscard]] std::span<const std::int64_t> dims() const {
    return {dims_.data(), rank_};
  }
  /// Product of all dimensions; 1 for a scalar.
  [[nodiscard]] std::int64_t num_elements() const;
  /// Python's tuple notation: "(2, 3)", "(5,)", "()".
  [[nodiscard]] std::string ToString() const;

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::size_t rank_ = 0;
};

}  // namespace attention
