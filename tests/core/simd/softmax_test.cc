// SPDX-License-Identifier: Apache-2.0
#include "core/simd/softmax.h"

#include <array>
#include <numbers>
#include <span>

#include "tests/core/simd/simd_test.h"

namespace attention {
namespace {

struct TwinRow {
  std::vector<float> p;
  float maximum;
  float sum;
};

TwinRow Twin(std::span<const float> scores, const float* mask, float scale,
             std::size_t width) {
  TwinRow row{std::vector<float>(width), -kInfinity, 0.0F};

  std::vector<float> logits;
  float largest = -kInfinity;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    logits.push_back(mask == nullptr ? scores[j] * scale
                                     : std::fma(scores[j], scale, mask[j]));
    if (logits[j] > largest) largest = logits[j];
  }
  largest += 0.0F;  // not -0

  const float safe = largest == -kInfinity ? 0.0F : largest;
  row.maximum = largest;
  std::array<float, 32> partial{};
  for (std::size_t j = 0; j < scores.size(); ++j) {
    row.p[j] = Exp(logits[j] - safe);
    partial[j % 32] += row.p[j];
  }
  for (std::size_t half = 16; half > 0; half /= 2) {
    for (std::size_t k = 0; k < half; ++k) partial[k] += partial[k + half];
  }
  row.sum = partial[0];
  return row;
}

struct Case {
  std::size_t rows;
  std::size_t width;
  std::size_t stride;
  std::size_t misalignment;
  std::size_t mask_stride;  // with kNoMask: none
  bool bf16;
  float scale = 0.125F;
};
constexpr std::size_t kNoMask = ~std::size_t{0};

class SoftmaxBlockTest : public SimdTest {
 protected:
  // Compute a block, and compare all it writes with the twin.
  void Check(const Case& c, const std::vector<float>& scores,
             const std::vector<std::int64_t>& limits,
             const std::vector<float>& mask) {
    Guarded<float> block(c.rows * c.stride, c.misalignment);
    std::copy(scores.begin(), scores.end(), block.data());
    Guarded<float> maxima(c.rows, c.misalignment);
    Guarded<float> sums(c.rows, c.misalignment);
    Guarded<std::uint16_t> bf16(c.rows * c.stride, c.misalignment);
    // Behind the last row's limit the mask may end.
    const bool masked = c.mask_stride != kNoMask;
    AtPageEnd<float> mask_end(
        masked ? std::vector<float>(mask.begin(),
                                    mask.begin() + MaskSize(c, limits))
               : std::vector<float>());
    SoftmaxBlock({.scores = block.data(),
                  .stride = static_cast<std::int64_t>(c.stride),
                  .rows = static_cast<std::int64_t>(c.rows),
                  .width = static_cast<std::int64_t>(c.width),
                  .limits = limits.data(),
                  .mask = masked ? mask_end.data() : nullptr,
                  .mask_stride = masked ? std::int64_t(c.mask_stride) : 0,
                  .scale = c.scale,
                  .maxima = maxima.data(),
                  .sums = sums.data(),
                  .bf16 = c.bf16 ? bf16.data() : nullptr});
    EXPECT_TRUE(block.UntouchedAround() && maxima.UntouchedAround() &&
                sums.UntouchedAround() && bf16.UntouchedAround());
    for (std::size_t i = 0; i < c.rows; ++i) {
      const TwinRow want = Twin(
          std::span(scores).subspan(i * c.stride, std::size_t(limits[i])),
          masked ? mask.data() + i * c.mask_stride : nullptr, c.scale, c.width);
      EXPECT_PRED3(SameOrClose, maxima[i], want.maximum, fused());
      EXPECT_PRED3(SameOrClose, sums[i], want.sum, fused());
      CheckRow(c, i, want, {block, scores, bf16});
    }
  }

 private:
  struct Written {
    Guarded<float>& block;
    const std::vector<float>& scores;
    Guarded<std::uint16_t>& bf16;
  };

  static std::ptrdiff_t MaskSize(const Case& c,
                                 const std::vector<std::int64_t>& limits) {
    std::ptrdiff_t size = 0;
    for (std::size_t i = 0; i < c.rows; ++i) {
      size = std::max(size, std::ptrdiff_t(i * c.mask_stride) + limits[i]);
    }
    return size;
  }

  static void CheckRow(const Case& c, std::size_t i, const TwinRow& want,
                       const Written& got) {
    for (std::size_t j = 0; j < c.stride; ++j) {
      const std::size_t at = i * c.stride + j;
      if (j >= c.width) {
        EXPECT_TRUE(SameBits(got.block[at], got.scores[at])) << i << "," << j;
        EXPECT_TRUE(got.bf16.Untouched(at));
        continue;
      }
      EXPECT_PRED3(SameOrClose, got.block[at], want.p[j], fused())
          << "row " << i << ", column " << j;
      EXPECT_TRUE(c.bf16 ? got.bf16[at] == TwinBf16(got.block[at])
                         : got.bf16.Untouched(at));
    }
  }
};

TEST_P(SoftmaxBlockTest, HasTheBitsOfItsTwinForEveryLimit) {
  for (std::size_t width = 0; width <= 96; width += 16) {
    const std::size_t rows = width + 1;
    std::vector<std::int64_t> limits(rows);
    for (std::size_t i = 0; i < rows; ++i) limits[i] = std::int64_t(i);
    for (const std::size_t mask_stride : {kNoMask, width + 3, std::size_t{0}}) {
      for (const std::size_t misalignment : {0U, 1U, 7U}) {
        const Case c = {.rows = rows,
                        .width = width,
                        .stride = width + misalignment,
                        .misalignment = misalignment,
                        .mask_stride = mask_stride,
                        .bf16 = misalignment != 1};
        Check(c, TameFloats(rows * c.stride, 1), limits,
              TameFloats(rows * (width + 3), 2));
      }
    }
  }
}

TEST_P(SoftmaxBlockTest, HasTheBitsOfItsTwinForWildScores) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Case c = {.rows = 5,
                    .width = 16 * (1 + seed % 9),
                    .stride = 160,
                    .misalignment = seed % 5,
                    .mask_stride = seed % 2 == 0 ? kNoMask : 160,
                    .bf16 = seed % 3 == 0,
                    .scale = seed % 7 == 0 ? -1.0F : 0.5F};
    const auto width = static_cast<std::int64_t>(c.width);
    Check(c, WildFloats(c.rows * c.stride, seed),
          {0, 1, width / 2, width - 1, width},
          WildFloats(c.rows * c.stride, seed + 1000));
  }
}

TEST_P(SoftmaxBlockTest, HasTheBitsOfAMaskOfZerosWithoutOne) {
  const std::vector<float> zeros(96);
  const std::vector<std::int64_t> limits = {90};
  std::array<std::vector<float>, 2> scores = {TameFloats(96, 7),
                                              TameFloats(96, 7)};
  std::array<float, 2> maxima{};
  std::array<float, 2> sums{};
  for (const std::size_t i : {0U, 1U}) {
    SoftmaxBlock({scores[i].data(), 96, 1, 96, limits.data(),
                  i == 0 ? nullptr : zeros.data(), 0, 0.3F, &maxima[i],
                  &sums[i], nullptr});
  }
  EXPECT_EQ(scores[0], scores[1]);
  EXPECT_EQ(maxima[0], maxima[1]);
  EXPECT_EQ(sums[0], sums[1]);
}

TEST_P(SoftmaxBlockTest, HasTheBitsOfItsTwinDownToZero) {
  std::vector<float> scores(512);
  for (std::size_t j = 0; j < 512; ++j) scores[j] = -0.26F * float(j);

  // Powers down to about 2^-133.
  Check({.rows = 1,
         .width = 512,
         .stride = 512,
         .misalignment = 0,
         .mask_stride = kNoMask,
         .bf16 = true,
         .scale = std::numbers::ln2_v<float>},
        scores, {512}, {});
}

TEST_P(SoftmaxBlockTest, ReadsNoMaskBehindALimit) {
  for (std::int64_t limit = 0; limit <= 80; ++limit) {
    Check({.rows = 1,
           .width = 80,
           .stride = 80,
           .misalignment = 0,
           .mask_stride = 0,
           .bf16 = false},
          TameFloats(80, 5), {limit}, TameFloats(80, 6));
  }
}

TEST_P(SoftmaxBlockTest, DoesNotDependOnWhatIsAbsent) {
  std::vector<float> scores = TameFloats(64, 3);
  std::fill(scores.begin() + 19, scores.end(), kNaN);

  Check({.rows = 1,
         .width = 64,
         .stride = 64,
         .misalignment = 0,
         .mask_stride = kNoMask,
         .bf16 = true},
        scores, {19}, {});
}

TEST_P(SoftmaxBlockTest, AddsUpToOneBesideItsMaximum) {
  std::vector<float> scores = TameFloats(512, 4);
  const std::vector<std::int64_t> limits = {500};
  float maximum = 0.0F;
  float sum = 0.0F;
  SoftmaxBlock({scores.data(), 512, 1, 512, limits.data(), nullptr, 0, 1.0F,
                &maximum, &sum, nullptr});

  double total = 0.0;
  for (const float p : scores) total += p;
  EXPECT_NEAR(sum, total, 1e-6 * total);
  EXPECT_EQ(*std::max_element(scores.begin(), scores.end()), 1.0F);
}

TEST_P(SoftmaxBlockTest, LargestIsOneHoweverLargeItIs) {
  for (float size = 1.0F; size < 1e37F; size *= 3.7F) {
    std::vector<float> scores(16, -size);
    scores[3] = size;
    const std::vector<std::int64_t> limits = {16};
    float maximum = 0.0F;
    float sum = 0.0F;
    SoftmaxBlock({scores.data(), 16, 1, 16, limits.data(), nullptr, 0, 0.3F,
                  &maximum, &sum, nullptr});
    EXPECT_EQ(scores[3], 1.0F) << size;
    EXPECT_GE(sum, 1.0F);
  }
}

TEST_P(SoftmaxBlockTest, LowestFloatAsMaskHidesBesideOthersButNotAlone) {
  const float lowest = std::numeric_limits<float>::lowest();
  std::vector<float> scores(32, 2.0F);
  std::vector<float> mask(32, lowest);
  mask[16] = 0.0F;
  const std::vector<std::int64_t> limits = {16, 16};
  std::array<float, 2> maxima{};
  std::array<float, 2> sums{};
  SoftmaxBlock({scores.data(), 16, 2, 16, limits.data(), mask.data(), 16, 1.0F,
                maxima.data(), sums.data(), nullptr});

  EXPECT_EQ(sums[0], 16.0F);
  EXPECT_EQ(sums[1], 1.0F);
}

TEST_P(SoftmaxBlockTest, RowsThatSeeNothingAreZeroAndNaNIsNotLost) {
  std::vector<float> scores(64, -kInfinity);
  scores[16 + 3] = kNaN;
  scores[32 + 5] = kInfinity;
  const std::vector<std::int64_t> limits = {16, 16, 16, 0};
  std::array<float, 4> maxima{};
  std::array<float, 4> sums{};
  SoftmaxBlock({scores.data(), 16, 4, 16, limits.data(), nullptr, 0, 1.0F,
                maxima.data(), sums.data(), nullptr});

  EXPECT_EQ(maxima[0], -kInfinity);
  EXPECT_EQ(sums[0], 0.0F);
  EXPECT_EQ(maxima[1], -kInfinity);
  EXPECT_TRUE(std::isnan(sums[1]));
  EXPECT_EQ(maxima[2], kInfinity);
  EXPECT_TRUE(std::isnan(sums[2]));
  EXPECT_EQ(maxima[3], -kInfinity);
  EXPECT_EQ(sums[3], 0.0F);
}

INSTANTIATE_FOR_EVERY_TARGET(SoftmaxBlockTest);

}  // namespace
}  // namespace attention
