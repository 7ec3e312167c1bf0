// SPDX-License-Identifier: Apache-2.0
// Both implementations against the answers recorded from PyTorch by
// tests/pytorch/record_answers.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <format>
#include <fstream>
#include <iterator>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/safetensors/safetensors.h"
#include "tests/golden/golden_case.h"
#include "tests/testing/attention_case.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using testing::Answer;
using testing::ImplementationKind;
using testing::IsClose;

// The elements of `tensor` at flat positions.
Tensor Gather(const TensorView& tensor, const TensorView& positions) {
  Tensor gathered(tensor.dtype, positions.shape);
  std::byte* out = gathered.mutable_view().data;
  const std::size_t size = DataTypeSize(tensor.dtype);
  for (std::size_t i = 0; i * size < gathered.num_bytes(); ++i) {
    std::int64_t position = 0;
    std::memcpy(&position, positions.data + i * sizeof(position),
                sizeof(position));
    std::memcpy(out + i * size,
                tensor.data + static_cast<std::size_t>(position) * size, size);
  }
  return gathered;
}

// Sum and largest magnitude over all elements, of which only a sample is
// recorded. The sum may be off by the tolerance of a mean element for each.
void CheckSummary(const std::string& name, const TensorView& got,
                  const NamedTensors& recorded) {
  constexpr double kRelative = 1.3e-6;
  constexpr double kAbsolute = 1e-5;
  const std::vector<double> values = testing::ToDoubles(got);
  double sum = 0.0;
  double sum_of_magnitudes = 0.0;
  double max_abs = 0.0;
  for (const double value : values) {
    sum += value;
    sum_of_magnitudes += std::fabs(value);
    max_abs = std::max(max_abs, std::fabs(value));
  }
  const auto read = [&recorded, &name](const char* part) {
    return testing::ToDoubles(recorded.at(name + part)).at(0);
  };
  EXPECT_NEAR(sum, read(".sum"),
              kAbsolute * static_cast<double>(values.size()) +
                  kRelative * sum_of_magnitudes);
  EXPECT_NEAR(max_abs, read(".max_abs"), kAbsolute + kRelative * max_abs);
}

// Compare one tensor of an answer with its record, whole or sampled.
void CheckTensor(const std::string& name, const TensorView& got,
                 const NamedTensors& recorded) {
  if (recorded.contains(name)) {
    EXPECT_TRUE(IsClose(got, recorded.at(name))) << name;
    return;
  }
  const Tensor sample = Gather(got, recorded.at(name + ".positions"));
  EXPECT_TRUE(IsClose(sample.view(), recorded.at(name + ".values"))) << name;
  CheckSummary(name, got, recorded);
}

Answer ComputeCase(const GoldenCase& golden_case,
                   const ImplementationKind& implementation) {
  const OwnedTensors tensors = MakeGoldenWeights(golden_case);
  auto weights = CollectWeights(golden_case.config, ViewOf(tensors));
  if (!weights.ok()) throw std::runtime_error(weights.status().ToString());
  const auto attention =
      implementation.make(golden_case.config, *std::move(weights));
  const OwnedTensors inputs = MakeGoldenInputs(golden_case);
  ComputePool pool(/*num_threads=*/2);
  return testing::Compute(*attention, golden_case.config,
                          GoldenRequest(golden_case, inputs), pool);
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Run {
  GoldenCase golden_case;
  ImplementationKind implementation;
};

// Every case on every implementation; float64 is the reference's alone.
std::vector<Run> AllRuns() {
  std::vector<Run> runs;
  for (const GoldenCase& golden_case : LoadGoldenCases()) {
    for (const testing::ImplementationKind& kind : testing::AllKinds()) {
      if (golden_case.dtype() == DataType::kFloat64 &&
          kind.name != "Reference") {
        continue;
      }
      runs.push_back({golden_case, kind});
    }
  }
  return runs;
}

void PrintTo(const Run& run, std::ostream* out) {
  *out << run.golden_case.name << " on " << run.implementation.name;
}

class GoldenAnswersTest : public ::testing::TestWithParam<Run> {};

TEST_P(GoldenAnswersTest, EqualsPyTorch) {
  const auto& [golden_case, implementation] = GetParam();
  const std::string file = ReadWhole(GoldenAnswerPath(golden_case.name));
  const auto recorded = SafetensorsView::Parse(std::as_bytes(std::span(file)));
  ASSERT_TRUE(recorded.ok()) << recorded.status();

  const Answer answer = ComputeCase(golden_case, implementation);

  CheckTensor("output", answer.output.view(), recorded->tensors());
  ASSERT_EQ(answer.weights.has_value(), golden_case.need_weights);
  if (answer.weights.has_value()) {
    CheckTensor("weights", answer.weights->view(), recorded->tensors());
  }
}

INSTANTIATE_TEST_SUITE_P(AllCases, GoldenAnswersTest,
                         ::testing::ValuesIn(AllRuns()),
                         [](const auto& param_info) {
                           return std::format(
                               "{}_{}", param_info.param.golden_case.name,
                               param_info.param.implementation.name);
                         });

}  // namespace
}  // namespace attention
