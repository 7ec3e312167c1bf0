// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/cli/tensor_values.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Elements converted to double at a time.
constexpr std::size_t kBlock = 4096;

double Difference(double got, double want) {
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0.0;
  const double difference = std::fabs(got - want);
  return std::isnan(difference) ? std::numeric_limits<double>::infinity()
                                : difference;
}

// Add one pair of elements to the comparison.
void CompareElement(std::size_t index, double got, double want,
                    Comparison& comparison) {
  const double difference = Difference(got, want);
  ++comparison.num_compared;
  const Tolerance& tolerance = comparison.tolerance;
  const double allowed =
      std::isfinite(want)
          ? tolerance.absolute + tolerance.relative * std::fabs(want)
          : 0.0;
  if (difference > allowed) ++comparison.num_different;
  if (difference > comparison.largest_difference) {
    comparison.largest_difference = difference;
    comparison.largest_index = index;
    comparison.largest_got = got;
    comparison.largest_want = want;
  }
}

}  // namespace

Tolerance DefaultTolerance(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return {.relative = 1.3e-6, .absolute = 1e-5};
    case DataType::kFloat64:
      return {.relative = 1e-7, .absolute = 1e-7};
    case DataType::kFloat16:
      return {.relative = 1e-3, .absolute = 1e-5};
    case DataType::kBFloat16:
      return {.relative = 1.6e-2, .absolute = 1e-5};
    case DataType::kBool:
    case DataType::kInt32:
    case DataType::kInt64:
      return {};
  }
  return {};
}

absl::StatusOr<Comparison> Compare(const TensorView& got,
                                   const TensorView& want) {
  if (!(got.shape == want.shape)) {
    return absl::InvalidArgumentError(FormatText("got shape {}, expected {}",
                                                 got.shape.ToString(),
                                                 want.shape.ToString()));
  }
  Comparison comparison;
  comparison.tolerance = DefaultTolerance(got.dtype);
  const auto total = static_cast<std::size_t>(got.shape.num_elements());
  for (std::size_t first = 0; first < total; first += kBlock) {
    const std::size_t count = std::min(kBlock, total - first);
    const std::vector<double> got_values = ReadValues(got, first, count);
    const std::vector<double> want_values = ReadValues(want, first, count);
    for (std::size_t i = 0; i < count; ++i) {
      CompareElement(first + i, got_values[i], want_values[i], comparison);
    }
  }
  return comparison;
}

absl::StatusOr<Comparison> CompareSampled(const TensorView& got,
                                          const TensorView& positions,
                                          const TensorView& values) {
  if (positions.dtype != DataType::kInt64 || positions.shape.rank() != 1 ||
      !(positions.shape == values.shape)) {
    return absl::InvalidArgumentError(FormatText(
        "positions are {} {} and values {}, expected int64 (K,) and (K,)",
        DataTypeName(positions.dtype), positions.shape.ToString(),
        values.shape.ToString()));
  }
  Comparison comparison;
  comparison.tolerance = DefaultTolerance(got.dtype);
  const std::vector<double> want = ReadValues(values);
  for (std::size_t i = 0; i < want.size(); ++i) {
    std::int64_t position = 0;
    std::memcpy(&position, positions.data + i * sizeof(position),
                sizeof(position));
    if (position < 0 || position >= got.shape.num_elements()) {
      return absl::InvalidArgumentError(
          FormatText("position {} lies outside the shape {}", position,
                     got.shape.ToString()));
    }
    const auto index = static_cast<std::size_t>(position);
    CompareElement(index, ReadValues(got, index, 1)[0], want[i], comparison);
  }
  return comparison;
}

absl::StatusOr<std::optional<Comparison>> CompareWithExpected(
    std::string_view name, const TensorView& got,
    const NamedTensors& expected) {
  if (const auto want = expected.find(name); want != expected.end()) {
    ATTENTION_ASSIGN_OR_RETURN(Comparison comparison,
                               Compare(got, want->second));
    return comparison;
  }
  const auto positions = expected.find(FormatText("{}.positions", name));
  const auto values = expected.find(FormatText("{}.values", name));
  if (positions == expected.end() && values == expected.end()) {
    return std::nullopt;
  }
  if (positions == expected.end() || values == expected.end()) {
    return absl::InvalidArgumentError(
        FormatText("expected both {0}.positions and {0}.values", name));
  }
  ATTENTION_ASSIGN_OR_RETURN(
      Comparison comparison,
      CompareSampled(got, positions->second, values->second));
  return comparison;
}

bool AreBitIdentical(const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype || !(a.shape == b.shape)) return false;
  return a.num_bytes() == 0 || std::memcmp(a.data, b.data, a.num_bytes()) == 0;
}

std::string ComparisonToString(std::string_view name, const Shape& shape,
                               const Comparison& comparison) {
  const std::string tolerance =
      FormatText("rtol {:g}, atol {:g}", comparison.tolerance.relative,
                 comparison.tolerance.absolute);
  const std::string verdict =
      comparison.agrees()
          ? FormatText("{} agrees in all {} elements compared", name,
                       comparison.num_compared)
          : FormatText("{} DIFFERS in {} of {} elements compared", name,
                       comparison.num_different, comparison.num_compared);
  if (comparison.largest_difference == 0.0) {
    return FormatText("{} ({}): no difference at all", verdict, tolerance);
  }
  return FormatText(
      "{} ({}): largest difference {:.3g} at {}, got {:.9g}, "
      "expected {:.9g}",
      verdict, tolerance, comparison.largest_difference,
      PositionToString(shape, comparison.largest_index), comparison.largest_got,
      comparison.largest_want);
}

}  // namespace attention
