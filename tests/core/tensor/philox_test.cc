// SPDX-License-Identifier: Apache-2.0
// tests/pytorch/philox_test.py checks the same vectors in Python.
#include "core/tensor/philox.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/tensor/random_tensor.h"

namespace attention {
namespace {

using Block = std::array<std::uint32_t, 4>;

// 64-bit FNV-1a hash of a tensor's bytes.
std::uint64_t HashOf(const Tensor& tensor) {
  std::uint64_t hash = 0xCBF29CE484222325;
  const std::span bytes(tensor.view().data, tensor.num_bytes());
  for (const std::byte byte : bytes) {
    hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001B3;
  }
  return hash;
}

// Source of the answers: Random123 1.14, tests/kat_vectors, philox4x32 10.
TEST(PhiloxTest, YieldsKnownAnswerForZeros) {
  EXPECT_EQ(Philox4x32(0, Block{}),
            (Block{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}));
}

TEST(PhiloxTest, YieldsKnownAnswerForOnes) {
  constexpr std::uint32_t kOnes = 0xFFFFFFFF;
  EXPECT_EQ(Philox4x32(0xFFFFFFFFFFFFFFFF, Block{kOnes, kOnes, kOnes, kOnes}),
            (Block{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}));
}

TEST(PhiloxTest, YieldsKnownAnswerForDigitsOfPi) {
  EXPECT_EQ(Philox4x32(0x299F31D0A4093822,
                       Block{0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}),
            (Block{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}));
}

struct RecordedTensor {
  DataType dtype;
  std::uint64_t hash;
};

class RandomTensorTest : public testing::TestWithParam<RecordedTensor> {};

TEST_P(RandomTensorTest, YieldsRecordedBits) {
  const Tensor tensor =
      RandomTensor(GetParam().dtype, Shape{7, 11, 13},
                   /*seed=*/std::uint64_t{42} << 33U, /*stream=*/3,
                   /*scale=*/0.3F);

  EXPECT_EQ(HashOf(tensor), GetParam().hash);
}

INSTANTIATE_TEST_SUITE_P(
    AllFloatingTypes, RandomTensorTest,
    testing::Values(RecordedTensor{DataType::kFloat32, 0xD3A44AAC2049541C},
                    RecordedTensor{DataType::kFloat64, 0xB5B1838F55815564},
                    RecordedTensor{DataType::kFloat16, 0xDB555A4002782686},
                    RecordedTensor{DataType::kBFloat16, 0x89937A0BCA532CE2}),
    [](const auto& param_info) {
      return std::string(DataTypeName(param_info.param.dtype));
    });

}  // namespace
}  // namespace attention
