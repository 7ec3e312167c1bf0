// SPDX-License-Identifier: Apache-2.0
#include "core/fused/panel_linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "core/attention/token_rows.h"
#include "core/engine/compute_path.h"
#include "core/fused/patch_sink.h"
#include "core/fused/row_source.h"
#include "core/onednn/compute_thread.h"
#include "core/tensor/convert.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::ToDoubles;

struct Case {
  std::int64_t out = 0;
  std::int64_t in = 0;
  DataType compute = DataType::kFloat32;
  DataType from = DataType::kFloat32;
  DataType to = DataType::kFloat32;
  bool bias = false;
  std::optional<Activation> activation = {};
  std::size_t shift = 0;  ///< bytes that input and output are off alignment
  std::vector<std::int64_t> sources = {};
  std::vector<std::int64_t> targets = {};
};

constexpr std::int64_t kTensorRows = 80;

// Both the reference and PanelLinear round operands to the compute dtype.
double Rounded(double value, DataType dtype) {
  std::uint64_t bits = 0;
  const auto narrow = static_cast<float>(value);
  auto* memory = reinterpret_cast<std::byte*>(&bits);
  StoreReals(&narrow, 1, dtype, memory);
  double wide = 0.0;
  LoadReals(dtype, memory, 1, &wide);
  return wide;
}

double Activated(double x, std::optional<Activation> activation) {
  if (!activation) return x;
  if (*activation == Activation::kRelu) return std::max(x, 0.0);
  return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
}

// A view's elements elsewhere, `shift` bytes off alignment.
struct Shifted {
  Shifted(const TensorView& view, std::size_t shift)
      : memory(view.num_bytes() + kTensorAlignment),
        place{memory.data() + shift, view.dtype, view.shape} {
    std::memcpy(memory.data() + shift, view.data, view.num_bytes());
  }
  [[nodiscard]] TensorView view() const {
    return {place.data, place.dtype, place.shape};
  }

  AlignedBuffer memory;
  MutableTensorView place;
};

LinearWeights WeightsOf(const Case& c) {
  LinearWeights weights;
  weights.weight = RandomTensor(DataType::kFloat32, {c.out, c.in}, 1);
  if (c.bias) weights.bias = RandomTensor(DataType::kFloat32, {c.out}, 2);
  return weights;
}

// Row sources[t] of the input becomes row targets[t] of the output.
struct ListedRows {
  TensorView input;
  std::span<const std::int64_t> sources;
  MutableTensorView output;
  std::span<const std::int64_t> targets;
};

// Rows that stay neighbours as one sequence, as a request would have them.
std::vector<Sequence> SequencesOf(const ListedRows& rows) {
  std::vector<Sequence> sequences;
  std::int64_t last_source = -2;
  std::int64_t last_target = -2;
  for (std::size_t t = 0; t < rows.sources.size(); ++t) {
    if (rows.sources[t] != last_source + 1 ||
        rows.targets[t] != last_target + 1) {
      Sequence& sequence = sequences.emplace_back();
      sequence.query = RowsOf<const std::byte>(rows.input, {}, rows.sources[t]);
      sequence.output = RowsOf<std::byte>(rows.output, {}, rows.targets[t]);
    }
    ++sequences.back().query_length;
    last_source = rows.sources[t];
    last_target = rows.targets[t];
  }
  return sequences;
}

void ComputeRows(const PanelLinear& linear, const ListedRows& rows) {
  const ComputeThreadScope scope;
  const std::vector<Sequence> sequences = SequencesOf(rows);
  std::vector<PassSequence> places;
  std::int64_t num_rows = 0;
  for (const Sequence& sequence : sequences) {
    places.push_back({.sequence = &sequence, .first_query = num_rows});
    num_rows += sequence.query_length;
  }
  const PassRows input(places, PassRows::Part::kQuery, num_rows);
  const OutputSink sink(places);
  AlignedBuffer scratch(linear.scratch_bytes());
  for (std::int64_t item = 0; item < linear.num_items(num_rows); ++item) {
    linear.Compute(input, item, sink, scratch.data());
  }
}

// The same of neighbours of float32, with the layer's activation.
void ComputeMatrix(const PanelLinear& linear, const ListedRows& rows) {
  const ComputeThreadScope scope;
  const auto* from = reinterpret_cast<const float*>(rows.input.data);
  auto* to = reinterpret_cast<float*>(rows.output.data);
  ComputePool pool(1);
  const absl::Status status = linear.Compute(
      from + rows.sources.front() * rows.input.shape.back(),
      static_cast<std::int64_t>(rows.sources.size()),
      to + rows.targets.front() * rows.output.shape.back(), pool);
  EXPECT_TRUE(status.ok()) << status;
}

// Unit roundoff of a dtype.
double Roundoff(DataType dtype) {
  if (dtype == DataType::kBFloat16) return 0x1p-8;
  return dtype == DataType::kFloat16 ? 0x1p-11 : 0x1p-24;
}

void ExpectRow(const Case& c, const LinearWeights& weights,
               const std::vector<double>& input, const double* got) {
  const auto in = static_cast<std::size_t>(c.in);
  const std::vector<double> weight = ToDoubles(weights.weight.view());
  for (std::size_t n = 0; n < static_cast<std::size_t>(c.out); ++n) {
    double sum = c.bias ? ToDoubles(weights.bias->view())[n] : 0.0;
    double magnitude = std::abs(sum);
    for (std::size_t k = 0; k < in; ++k) {
      const double product =
          Rounded(input[k], c.compute) * Rounded(weight[n * in + k], c.compute);
      sum += product;
      magnitude += std::abs(product);
    }
    const double want = Activated(sum, c.activation);
    // The statistical bound of a sum's roundings, and the answer's own; a
    // polynomial GELU has an error of its own.
    const double allowed =
        4.0 * std::sqrt(static_cast<double>(in + 2)) * 0x1p-24 * magnitude +
        Roundoff(c.to) * std::abs(want) + 1e-6;
    ASSERT_NEAR(got[n], want, allowed) << "column " << n;
  }
}

void ExpectAsDoubles(const Case& c) {
  SCOPED_TRACE(::testing::Message()
               << c.out << " x " << c.in << " in " << DataTypeName(c.compute)
               << ", " << DataTypeName(c.from) << " to " << DataTypeName(c.to)
               << ", shift " << c.shift);
  const LinearWeights weights = WeightsOf(c);
  WeightMemory memory(PanelLinear::PanelBytes(weights, c.compute));
  const PanelLinear linear(weights, c.compute, c.activation, memory);
  const Shifted input(RandomTensor(c.from, {kTensorRows, c.in}, 3).view(),
                      c.shift);
  const Tensor before = RandomTensor(c.to, {kTensorRows, c.out}, 4);
  const Shifted output(before.view(), c.shift);
  const ListedRows rows = {input.view(), c.sources, output.place, c.targets};
  if (c.activation) {
    ComputeMatrix(linear, rows);
  } else {
    ComputeRows(linear, rows);
  }

  const std::vector<double> from = ToDoubles(input.view());
  const std::vector<double> got = ToDoubles(output.view());
  std::vector<double> want = ToDoubles(before.view());
  for (std::size_t t = 0; t < c.sources.size(); ++t) {
    const std::int64_t first = c.sources[t] * c.in;
    const std::vector<double> row(from.begin() + first,
                                  from.begin() + first + c.in);
    const std::int64_t place = c.targets[t] * c.out;
    ASSERT_NO_FATAL_FAILURE(ExpectRow(c, weights, row, got.data() + place));
    std::copy_n(got.begin() + place, c.out, want.begin() + place);
  }
  EXPECT_EQ(got, want) << "rows that are nobody's were written";
}

std::vector<std::int64_t> Range(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

class PanelLinearTest : public ::testing::TestWithParam<DataType> {
 protected:
  void SetUp() override {
    if (BestComputePath(GetParam()) !=
        ComputePath{KernelKind::kFused, GetParam()}) {
      GTEST_SKIP() << "not on this machine";
    }
  }
};

TEST_P(PanelLinearTest, AgreesWithDoublesAboutThePanelsEdges) {
  for (const std::int64_t out : {1, 15, 16, 17, 63, 64, 65, 130}) {
    for (const std::int64_t in : {1, 2, 3, 63, 64, 1023, 1024, 1025, 2100}) {
      const bool odd = (out + in) % 2 == 1;
      ASSERT_NO_FATAL_FAILURE(ExpectAsDoubles({.out = out,
                                               .in = in,
                                               .compute = GetParam(),
                                               .bias = odd,
                                               .sources = {0, 1, 2},
                                               .targets = {0, 1, 2}}));
    }
  }
}

TEST_P(PanelLinearTest, ReadsAndWritesEveryDtypeAlignedOrNot) {
  constexpr DataType kDtypes[] = {DataType::kFloat32, DataType::kBFloat16,
                                  DataType::kFloat16};
  for (const DataType from : kDtypes) {
    for (const DataType to : kDtypes) {
      for (const std::size_t shift : {0U, 1U, 2U, 4U}) {
        ASSERT_NO_FATAL_FAILURE(ExpectAsDoubles({.out = 65,
                                                 .in = 33,
                                                 .compute = GetParam(),
                                                 .from = from,
                                                 .to = to,
                                                 .bias = true,
                                                 .shift = shift,
                                                 .sources = Range(3, 5),
                                                 .targets = Range(1, 5)}));
      }
    }
  }
}

TEST_P(PanelLinearTest, AppliesTheActivationBehindTheBias) {
  for (const Activation activation : {Activation::kRelu, Activation::kGelu}) {
    for (const bool bias : {false, true}) {
      ASSERT_NO_FATAL_FAILURE(ExpectAsDoubles({.out = 70,
                                               .in = 20,
                                               .compute = GetParam(),
                                               .bias = bias,
                                               .activation = activation,
                                               .sources = Range(0, 66),
                                               .targets = Range(2, 66)}));
    }
  }
}

TEST_P(PanelLinearTest, TakesRowsByTheirIndices) {
  ASSERT_NO_FATAL_FAILURE(ExpectAsDoubles({.out = 65,
                                           .in = 64,
                                           .compute = GetParam(),
                                           .sources = {7, 3, 79, 4, 3, 0},
                                           .targets = {0, 1, 2, 79, 30, 31}}));
}

TEST_P(PanelLinearTest, ARowsBitsDependOnTheRowAlone) {
  for (const std::int64_t in : {63, 64, 1025}) {
    const Case c = {.out = 130, .in = in, .bias = true};
    const LinearWeights weights = WeightsOf(c);
    WeightMemory memory(PanelLinear::PanelBytes(weights, GetParam()));
    const PanelLinear linear(weights, GetParam(), {}, memory);
    const Tensor input = RandomTensor(DataType::kFloat32, {kTensorRows, in}, 3);
    Tensor whole(DataType::kFloat32, {kTensorRows, c.out});
    const auto all = Range(0, kTensorRows);
    ComputeRows(linear, {input.view(), all, whole.mutable_view(), all});
    for (std::int64_t count = 1; count <= 70; ++count) {
      const auto rows = Range(kTensorRows - count, count);
      Tensor part = whole.Clone();
      std::ranges::fill(
          part.data<float>().last(static_cast<std::size_t>(count * c.out)),
          0.0F);
      ComputeRows(linear, {input.view(), rows, part.mutable_view(), rows});
      ASSERT_TRUE(testing::IsIdentical(part.view(), whole.view())) << count;
    }
  }
}

// Rows that stay neighbours are written where they belong, others by way of
// sums.
TEST_P(PanelLinearTest, ARowsBitsDoNotDependOnWhereItGoes) {
  for (const std::int64_t in : {64, 1025}) {
    const Case c = {.out = 130, .in = in, .bias = true};
    const LinearWeights weights = WeightsOf(c);
    WeightMemory memory(PanelLinear::PanelBytes(weights, GetParam()));
    const PanelLinear linear(weights, GetParam(), {}, memory);
    const Tensor input = RandomTensor(DataType::kFloat32, {kTensorRows, in}, 3);
    Tensor forth(DataType::kFloat32, {kTensorRows, c.out});
    Tensor back(DataType::kFloat32, {kTensorRows, c.out});
    const auto rows = Range(0, kTensorRows);
    const std::vector<std::int64_t> reversed(rows.rbegin(), rows.rend());
    ComputeRows(linear, {input.view(), rows, forth.mutable_view(), rows});
    ComputeRows(linear, {input.view(), rows, back.mutable_view(), reversed});
    for (std::int64_t row = 0; row < kTensorRows; ++row) {
      const auto width = static_cast<std::size_t>(c.out);
      const auto at = static_cast<std::size_t>(row) * width;
      const auto mirrored =
          static_cast<std::size_t>(kTensorRows - 1 - row) * width;
      ASSERT_EQ(std::memcmp(forth.data<float>().data() + at,
                            back.data<float>().data() + mirrored,
                            width * sizeof(float)),
                0)
          << "row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Dtypes, PanelLinearTest,
    ::testing::Values(DataType::kFloat32, DataType::kBFloat16),
    [](const ::testing::TestParamInfo<DataType>& parameter) {
      return std::string(DataTypeName(parameter.param));
    });

}  // namespace
}  // namespace attention
