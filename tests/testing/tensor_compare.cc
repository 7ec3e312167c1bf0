// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/tensor_compare.h"

#include <cmath>
#include <cstring>

#include "core/tensor/convert.h"

namespace attention::testing {
namespace {

struct Tolerance {
  double rtol;
  double atol;
};

// Source: torch/testing/_comparison.py, _DTYPE_PRECISIONS.
Tolerance ToleranceOf(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return {1e-3, 1e-5};
    case DataType::kBFloat16:
      return {1.6e-2, 1e-5};
    case DataType::kFloat32:
      return {1.3e-6, 1e-5};
    default:
      return {1e-7, 1e-7};
  }
}

}  // namespace

std::vector<double> ToDoubles(const TensorView& tensor) {
  std::vector<double> values(
      static_cast<std::size_t>(tensor.shape.num_elements()));
  LoadReals(tensor.dtype, tensor.data, values.size(), values.data());
  return values;
}

::testing::AssertionResult IsClose(const TensorView& got,
                                   const TensorView& want) {
  if (!(got.shape == want.shape)) {
    return ::testing::AssertionFailure()
           << "shapes differ: got " << got.shape.ToString() << ", want "
           << want.shape.ToString();
  }
  const Tolerance tolerance = ToleranceOf(got.dtype);
  const std::vector<double> got_values = ToDoubles(got);
  const std::vector<double> want_values = ToDoubles(want);
  double worst = 1.0;
  std::size_t worst_index = got_values.size();
  for (std::size_t i = 0; i < got_values.size(); ++i) {
    if (std::isnan(got_values[i]) && std::isnan(want_values[i])) continue;
    if (got_values[i] == want_values[i]) continue;
    const double allowed =
        tolerance.atol + tolerance.rtol * std::fabs(want_values[i]);
    const double ratio = std::fabs(got_values[i] - want_values[i]) / allowed;
    if (!(ratio <= worst)) {
      worst = ratio;
      worst_index = i;
    }
    if (std::isnan(ratio)) break;
  }
  if (worst_index == got_values.size()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "element " << worst_index << " of " << got.shape.ToString()
         << ": got " << got_values[worst_index] << ", want "
         << want_values[worst_index] << ", error is " << worst
         << " times the tolerance";
}

::testing::AssertionResult IsIdentical(const TensorView& got,
                                       const TensorView& want) {
  if (got.dtype != want.dtype || !(got.shape == want.shape)) {
    return ::testing::AssertionFailure()
           << "got " << DataTypeName(got.dtype) << got.shape.ToString()
           << ", want " << DataTypeName(want.dtype) << want.shape.ToString();
  }
  const std::size_t size = DataTypeSize(got.dtype);
  for (std::size_t i = 0; i < got.num_bytes(); i += size) {
    if (std::memcmp(got.data + i, want.data + i, size) != 0) {
      return ::testing::AssertionFailure()
             << "bits differ first at element " << i / size << " of "
             << got.shape.ToString();
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace attention::testing
