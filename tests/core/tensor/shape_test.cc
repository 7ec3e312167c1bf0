// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/shape.h"

#include <gtest/gtest.h>

#include <vector>

namespace attention {
namespace {

using Dims = std::vector<std::int64_t>;
constexpr std::int64_t kHuge = std::int64_t{1} << 40;

TEST(ShapeTest, CountsElements) {
  EXPECT_EQ((Shape{2, 3, 4}).num_elements(), 24);
  EXPECT_EQ((Shape{2, 0, 4}).num_elements(), 0);
  EXPECT_EQ(Shape().num_elements(), 1);
}

TEST(ShapeTest, PrintsAsATuple) {
  EXPECT_EQ((Shape{2, 3}).ToString(), "(2, 3)");
  EXPECT_EQ(Shape{5}.ToString(), "(5,)");
  EXPECT_EQ(Shape().ToString(), "()");
}

TEST(ShapeTest, ComparesRankAndDimensions) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_FALSE((Shape{2, 3}) == (Shape{2, 3, 1}));
  EXPECT_FALSE((Shape{2, 3}) == (Shape{3, 2}));
}

TEST(ShapeTest, RefusesUntrustedDimensionsOutOfBounds) {
  for (const Dims& dims :
       {Dims{-1}, Dims{kHuge, kHuge}, Dims{kHuge, 0, 8}, Dims{1, -5, 0},
        Dims{Shape::kMaxDim, Shape::kMaxDim},
        Dims{Shape::kMaxDim, 0, Shape::kMaxDim}, Dims(9, 1)}) {
    EXPECT_EQ(Shape::Create(dims).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(ShapeTest, AcceptsTheLargestDimension) {
  const auto shape = Shape::Create(Dims{Shape::kMaxDim, 0});
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->num_elements(), 0);
}

TEST(ShapeTest, SaysWhichDimensionIsWrong) {
  EXPECT_EQ(Shape::Create(Dims{2, -7}).status().message(),
            "dimension 1 of a shape is -7, expected 0 to 2147483647");
}

}  // namespace
}  // namespace attention
