// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/brgemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "core/onednn/compute_thread.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

constexpr std::int64_t kRows = Brgemm::kMaxRows;

// Of a multiplication: columns and depth.
using Parameter = std::tuple<std::int64_t, std::int64_t>;

std::string NameOf(const ::testing::TestParamInfo<Parameter>& info) {
  const auto& [columns, depth] = info.param;
  return std::to_string(columns) + "_" + std::to_string(depth);
}

class BrgemmTest : public ::testing::TestWithParam<Parameter> {
 protected:
  void SetUp() override {
    if (!Brgemm::IsAvailable()) GTEST_SKIP() << "no ukernels";
  }

  [[nodiscard]] Brgemm Make(std::int64_t depth, bool accumulate) const {
    return Brgemm({.columns = columns_,
                   .depth = depth,
                   .lda = kLda,
                   .ldb = columns_,
                   .ldc = columns_,
                   .accumulate = accumulate});
  }
  // `rows` rows of A from row `first` on, added to or put over those of C.
  [[nodiscard]] std::vector<float> Compute(const Brgemm& kernel,
                                           std::int64_t first,
                                           std::int64_t rows) const {
    const ComputeThreadScope scope;
    const auto c =
        c_.data<float>().subspan(static_cast<std::size_t>(first * columns_),
                                 static_cast<std::size_t>(rows * columns_));
    std::vector<float> result(c.begin(), c.end());
    kernel.Execute(rows, a_.data<std::uint16_t>().data() + first * kLda,
                   b_.data<std::uint16_t>().data(), result.data());
    return result;
  }

  static constexpr std::int64_t kLda = 1200;  // holds every depth
  const std::int64_t columns_ = std::get<0>(GetParam());
  const std::int64_t depth_ = std::get<1>(GetParam());
  Tensor a_ = RandomTensor(DataType::kBFloat16, {kRows, kLda}, 1);
  Tensor b_ = RandomTensor(DataType::kBFloat16, {kLda, columns_}, 2);
  Tensor c_ = RandomTensor(DataType::kFloat32, {kRows, columns_}, 3);
};

TEST_P(BrgemmTest, ARowsBitsDoNotDependOnTheHeight) {
  for (const bool accumulate : {false, true}) {
    const Brgemm kernel = Make(depth_, accumulate);
    const std::vector<float> whole = Compute(kernel, 0, kRows);
    for (std::int64_t rows = 1; rows <= kRows; ++rows) {
      for (const std::int64_t first : {std::int64_t{0}, kRows - rows}) {
        const std::vector<float> part = Compute(kernel, first, rows);
        ASSERT_EQ(std::memcmp(part.data(), whole.data() + first * columns_,
                              part.size() * sizeof(float)),
                  0)
            << rows << " rows from row " << first
            << (accumulate ? ", accumulated" : "");
      }
    }
  }
}

TEST_P(BrgemmTest, ZerosAtTheEndOfDepthChangeNoBit) {
  // Columns of A behind the depth, and rows of B: A's zeros are enough, but
  // for what is not finite.
  for (std::int64_t i = 0; i < kRows; ++i) {
    std::fill_n(a_.data<std::uint16_t>().data() + i * kLda + depth_,
                kLda - depth_, std::uint16_t{0});
  }
  for (const bool accumulate : {false, true}) {
    const std::vector<float> want = Compute(Make(depth_, accumulate), 0, kRows);
    for (const std::int64_t more : {2, 16, 48, 64}) {
      EXPECT_EQ(Compute(Make(depth_ + more, accumulate), 0, kRows), want)
          << more << " zeros" << (accumulate ? ", accumulated" : "");
    }
  }
}

TEST_P(BrgemmTest, MultipliesAsDoublesDo) {
  const auto columns = static_cast<std::size_t>(columns_);
  const std::vector<double> a = testing::ToDoubles(a_.view());
  const std::vector<double> b = testing::ToDoubles(b_.view());
  const std::vector<float> got = Compute(Make(depth_, false), 0, kRows);
  for (std::size_t i = 0; i < got.size(); ++i) {
    double want = 0.0;
    double magnitude = 0.0;
    for (std::size_t k = 0; k < static_cast<std::size_t>(depth_); ++k) {
      const std::size_t n = i % columns;
      // Rows lie in pairs.
      const std::size_t at = k / 2 * 2 * columns + 2 * n + k % 2;
      const double product = a[i / columns * kLda + k] * b[at];
      want += product;
      magnitude += std::abs(product);
    }
    // A sum of K terms errs by K roundings of what it is made of, at most.
    ASSERT_NEAR(got[i], want,
                static_cast<double>(depth_) * 0x1p-24 * magnitude + 1e-30)
        << "element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, BrgemmTest,
    ::testing::Combine(::testing::Values(16, 32, 48, 64, 128),
                       ::testing::Values(2, 16, 20, 64, 80, 1024)),
    NameOf);

}  // namespace
}  // namespace attention
