// SPDX-License-Identifier: Apache-2.0
#include "core/fused/fused_pass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "core/attention/config.h"
#include "core/attention/module_spec.h"
#include "core/attention/request.h"
#include "core/tensor/tensor.h"

namespace attention {
namespace {

constexpr std::int64_t kHeads = 12, kWidth = 768;

// How the attention of one sequence of `length` rows is cut into items.
class Cutting {
 public:
  explicit Cutting(std::int64_t length)
      : query_(Zeros(DataType::kFloat32, {1, length, kWidth})) {
    config_.embed_dim = kWidth;
    config_.num_heads = kHeads;
    config_.batch_first = true;
    inputs_.query = query_.view();
    inputs_.need_weights = false;
  }
  void Mask(DataType dtype, const Shape& shape) {
    mask_ = Zeros(dtype, shape);
    inputs_.attn_mask = mask_.view();
  }
  void AverageWeights() {
    inputs_.need_weights = true;
    inputs_.average_attn_weights = true;
  }

  std::int64_t Heads() { return FirstItem().num_heads; }
  std::int64_t Rows() { return FirstItem().rows.num_rows; }

 private:
  // All items together are every row of every head just once, else the test
  // fails.
  FusedItem FirstItem() {
    const auto plan = ResolveRequest(config_, inputs_);
    const AttentionSpec spec = SpecOf(config_).attention;
    PackedKeys keys;
    keys.num_heads = spec.num_key_value_heads;
    keys.head_dim = spec.head_dim;
    keys.value_head_dim = spec.value_head_dim;
    const FusedExtent extent(spec, (*plan)->sequences);
    Carver counter;
    (void)FusedLayout(spec, keys, extent, counter);
    AlignedBuffer memory(counter.used());
    Carver carver(memory.data());
    FusedLayout layout(spec, keys, extent, carver);
    layout.Fill(spec, extent);
    ExpectEachOnce(layout, extent);
    return layout.items.front();
  }

  static Tensor Zeros(DataType dtype, const Shape& shape) {
    Tensor tensor(dtype, shape);
    std::fill_n(tensor.mutable_view().data, tensor.num_bytes(), std::byte{0});
    return tensor;
  }

  static void ExpectEachOnce(const FusedLayout& layout,
                             const FusedExtent& extent) {
    std::vector<int> times(
        static_cast<std::size_t>(extent.num_queries * kHeads));
    for (const FusedItem& item : layout.items) {
      for (std::int64_t row = 0; row < item.rows.num_rows; ++row) {
        for (std::int64_t head = 0; head < item.num_heads; ++head) {
          ++times[static_cast<std::size_t>(
              (item.rows.first_row + row) * kHeads + item.first_head + head)];
        }
      }
    }
    EXPECT_TRUE(std::ranges::all_of(times, [](int n) { return n == 1; }));
  }

  MultiHeadAttentionConfig config_;
  Tensor query_;
  Tensor mask_;
  AttentionInputs inputs_;
};

TEST(FusedPassTest, AHeadIsAnItemWhereItIsWorkEnough) {
  EXPECT_EQ(Cutting(512).Heads(), 1);
}

TEST(FusedPassTest, TilesOfManyKeysGoSideBySide) {
  EXPECT_EQ(Cutting(512).Rows(), 64);
  EXPECT_EQ(Cutting(1024).Rows(), 3 * 64);
  EXPECT_EQ(Cutting(2048).Rows(), 4 * 64);
  Cutting masked(2048);
  masked.Mask(DataType::kFloat32, {2048, 2048});
  EXPECT_EQ(masked.Rows(), 2 * 64);
  Cutting averaged(2048);
  averaged.AverageWeights();
  EXPECT_EQ(averaged.Rows(), 32);
}

TEST(FusedPassTest, AMaskIsReadForSeveralHeadsAtOnce) {
  for (const DataType dtype : {DataType::kBool, DataType::kFloat16}) {
    Cutting cutting(512);
    cutting.Mask(dtype, {512, 512});
    EXPECT_EQ(cutting.Heads(), 3);
    Cutting longer(1024);
    longer.Mask(dtype, {1024, 1024});
    EXPECT_EQ(longer.Heads(), 4);
  }
}

TEST(FusedPassTest, AMaskThatIsNotReadOnceChangesNoItem) {
  Cutting in_place(512);
  in_place.Mask(DataType::kFloat32, {512, 512});
  EXPECT_EQ(in_place.Heads(), 1);
  Cutting of_heads(512);
  of_heads.Mask(DataType::kBool, {kHeads, 512, 512});
  EXPECT_EQ(of_heads.Heads(), 1);
}

TEST(FusedPassTest, AShortMaskedSequenceIsStillShared) {
  Cutting cutting(64);
  cutting.Mask(DataType::kBool, {64, 64});
  EXPECT_EQ(cutting.Heads(), Cutting(64).Heads());
}

TEST(FusedPassTest, AveragedWeightsHaveAllHeadsInAnItem) {
  Cutting cutting(100);
  cutting.AverageWeights();
  EXPECT_EQ(cutting.Heads(), kHeads);
}

}  // namespace
}  // namespace attention
