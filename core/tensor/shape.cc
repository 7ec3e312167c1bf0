// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/shape.h"

#include <algorithm>
#include <cassert>

#include "absl/status/status.h"
#include "core/tensor/format_text.h"

namespace attention {

absl::StatusOr<Shape> Shape::Create(std::span<const std::int64_t> dims) {
  if (dims.size() > kMaxRank) {
    return absl::InvalidArgumentError(
        FormatText("a shape has {} dimensions, expected at most {}",
                   dims.size(), kMaxRank));
  }
  Shape shape;
  std::int64_t product = 1;  // of the non-zero dimensions
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    const std::int64_t dim = dims[axis];
    if (dim < 0 || dim > kMaxDim) {
      return absl::InvalidArgumentError(
          FormatText("dimension {} of a shape is {}, expected 0 to {}", axis,
                     dim, kMaxDim));
    }
    if (dim > 0 && product > kMaxElements / dim) {
      return absl::InvalidArgumentError(FormatText(
          "a shape has more than {} elements at dimension {} of size {}",
          kMaxElements, axis, dim));
    }
    product *= std::max<std::int64_t>(dim, 1);
    shape.dims_[axis] = dim;
  }
  shape.rank_ = dims.size();
  return shape;
}

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  const absl::StatusOr<Shape> shape =
      Create(std::span<const std::int64_t>(dims.begin(), dims.size()));
  assert(shape.ok() && "a literal shape breaks an invariant of Shape");
  *this = *shape;
}

std::int64_t Shape::num_elements() const {
  std::int64_t product = 1;
  for (const std::int64_t dim : dims()) product *= dim;
  return product;
}

std::string Shape::ToString() const {
  std::string text = "(";
  for (std::size_t axis = 0; axis < rank_; ++axis) {
    text += FormatText("{}{}", axis == 0 ? "" : ", ", dims_[axis]);
  }
  return text + (rank_ == 1 ? ",)" : ")");
}

bool operator==(const Shape& a, const Shape& b) {
  return std::ranges::equal(a.dims(), b.dims());
}

}  // namespace attention
