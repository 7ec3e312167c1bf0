// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/tensor_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using ::testing::HasSubstr;

v1::Tensor Message(v1::DataType dtype, const std::vector<std::int64_t>& shape,
                   std::size_t num_bytes) {
  v1::Tensor message;
  message.set_dtype(dtype);
  message.mutable_shape()->Assign(shape.begin(), shape.end());
  message.set_data(std::string(num_bytes, '\0'));
  return message;
}

class DataTypeCodecTest : public ::testing::TestWithParam<DataType> {};

TEST_P(DataTypeCodecTest, DecodesWhatItEncoded) {
  EXPECT_EQ(DecodeDataType(EncodeDataType(GetParam())).value(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(AllTypes, DataTypeCodecTest,
                         ::testing::Values(DataType::kFloat32,
                                           DataType::kFloat64,
                                           DataType::kFloat16,
                                           DataType::kBFloat16, DataType::kBool,
                                           DataType::kInt32, DataType::kInt64));

TEST(TensorCodecTest, DecodesWhatItEncoded) {
  const Tensor tensor = RandomTensor(DataType::kFloat32, {2, 3}, /*seed=*/1);
  v1::Tensor message;

  EncodeTensor(tensor.view(), &message);
  const absl::StatusOr<TensorView> view = DecodeTensor(message, "query");

  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE(testing::IsIdentical(*view, tensor.view()));
}

TEST(TensorCodecTest, EncodesAnEmptyTensor) {
  v1::Tensor message;

  EncodeTensor({.data = nullptr, .dtype = DataType::kFloat32, .shape = {0, 3}},
               &message);

  EXPECT_TRUE(DecodeTensor(message, "query").ok());
}

struct BadTensor {
  std::string name;
  v1::Tensor message;
  std::string text;
};

class BadTensorTest : public ::testing::TestWithParam<BadTensor> {};

TEST_P(BadTensorTest, IsRefusedWithItsReason) {
  const absl::Status status =
      DecodeTensor(GetParam().message, "query").status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("query: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().text));
}

constexpr auto kF32 = v1::DATA_TYPE_FLOAT32;
constexpr std::int64_t kHuge = std::int64_t{1} << 40;

v1::Tensor BadBool() {
  v1::Tensor message = Message(v1::DATA_TYPE_BOOL, {3}, 3);
  (*message.mutable_data())[1] = 2;
  return message;
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadTensorTest,
    ::testing::Values(
        BadTensor{"UnsetType", Message(v1::DATA_TYPE_UNSPECIFIED, {1}, 4),
                  "not set"},
        BadTensor{"UnknownType", Message(static_cast<v1::DataType>(99), {1}, 4),
                  "dtype is 99"},
        BadTensor{"HugeProduct", Message(kF32, {kHuge, kHuge}, 0),
                  "dimension 0"},
        BadTensor{"HugeTimesZero", Message(kF32, {kHuge, 0, 8}, 0),
                  "dimension 0"},
        BadTensor{"Negative", Message(kF32, {2, -1}, 0), "is -1"},
        BadTensor{"NineDimensions",
                  Message(kF32, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 4),
                  "9 dimensions"},
        BadTensor{"Short", Message(kF32, {2, 3}, 23), "23 bytes, expected 24"},
        BadTensor{"Long", Message(kF32, {2, 3}, 25), "25 bytes, expected 24"},
        BadTensor{"Bool", BadBool(), "element 1 is 2"}),
    [](const auto& case_info) { return case_info.param.name; });

}  // namespace
}  // namespace attention
