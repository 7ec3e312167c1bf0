// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/attention/weights.h"
#include "core/tensor/convert.h"

namespace attention {

/// A dense row-major matrix of doubles.
struct Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<double> elements;

  Matrix(std::int64_t num_rows, std::int64_t num_columns)
      : rows(num_rows),
        columns(num_columns),
        elements(static_cast<std::size_t>(num_rows * num_columns)) {}
  double* row(std::int64_t i) { return elements.data() + i * columns; }
  [[nodiscard]] const double* row(std::int64_t i) const {
    return elements.data() + i * columns;
  }
};

/// The elements of a parameter in double.
[[nodiscard]] inline Matrix ToMatrix(const Tensor& tensor) {
  const std::int64_t columns = tensor.shape().back();
  Matrix matrix(tensor.shape().num_elements() / columns, columns);
  LoadReals(tensor.dtype(), tensor.view().data, matrix.elements.size(),
            matrix.elements.data());
  return matrix;
}

[[nodiscard]] inline double Dot(const double* a, const double* b,
                                std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// A linear layer in double: y = x W^T + b.
struct Linear {
  Matrix weight;               ///< [out, in]
  std::optional<Matrix> bias;  ///< [1, out]

  explicit Linear(const LinearWeights& weights)
      : weight(ToMatrix(weights.weight)) {
    if (weights.bias) bias = ToMatrix(*weights.bias);
  }
  void Apply(const double* x, double* y) const {
    for (std::int64_t o = 0; o < weight.rows; ++o) {
      y[o] = Dot(x, weight.row(o), weight.columns) +
             (bias ? bias->elements[static_cast<std::size_t>(o)] : 0.0);
    }
  }
};

}  // namespace attention
