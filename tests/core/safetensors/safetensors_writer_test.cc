// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/tensor/random_tensor.h"
#include "tests/core/safetensors/safetensors_bytes.h"

namespace attention {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

void ExpectSameTensors(const NamedTensors& got, const NamedTensors& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want) {
    ASSERT_TRUE(got.contains(name)) << name;
    const TensorView& other = got.find(name)->second;
    EXPECT_EQ(other.dtype, tensor.dtype);
    EXPECT_EQ(other.shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(std::span(other.data, other.num_bytes()),
                                   std::span(tensor.data, tensor.num_bytes())))
        << name;
  }
}

TEST(SafetensorsWriterTest, WritesWhatTheReaderReads) {
  const Tensor f64 = RandomTensor(DataType::kFloat64, {3, 1, 2}, /*seed=*/1);
  const Tensor f32 = RandomTensor(DataType::kFloat32, {5}, /*seed=*/2);
  const Tensor bf16 = RandomTensor(DataType::kBFloat16, {7, 3}, /*seed=*/3);
  const Tensor f16 = RandomTensor(DataType::kFloat16, {}, /*seed=*/4);
  const Tensor empty(DataType::kInt64, {0, 4});
  const NamedTensors tensors = {{"f64", f64.view()},
                                {"quote\" and \n", f32.view()},
                                {"\xC3\xA4", bf16.view()},
                                {"", f16.view()},
                                {"empty", empty.view()}};
  const SafetensorsMetadata metadata = {{"config", R"({"a": "\\"})"}};

  const auto file = SerializeSafetensors(tensors, metadata);

  ASSERT_TRUE(file.ok()) << file.status();
  const std::string bytes = file->ToString();
  EXPECT_EQ(bytes.size(), file->num_bytes());
  const auto view = SafetensorsView::Parse(AsBytes(bytes));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->metadata(), metadata);
  ExpectSameTensors(view->tensors(), tensors);
}

TEST(SafetensorsWriterTest, OrdersByElementSizeThenName) {
  const Tensor wide = RandomTensor(DataType::kFloat64, {1}, /*seed=*/1);
  const Tensor narrow = RandomTensor(DataType::kFloat16, {1}, /*seed=*/1);
  const NamedTensors tensors = {
      {"b", wide.view()}, {"a", narrow.view()}, {"c", wide.view()}};

  const auto file = SerializeSafetensors(tensors);

  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(
      file->header.substr(8),
      StartsWith(R"({"b":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
                 R"("c":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},)"
                 R"("a":{"dtype":"F16","shape":[1],"data_offsets":[16,18]}})"));
}

TEST(SafetensorsWriterTest, AlignsTheData) {
  const Tensor tensor = RandomTensor(DataType::kFloat64, {1}, /*seed=*/1);
  for (std::size_t length = 1; length <= 8; ++length) {
    const auto file =
        SerializeSafetensors({{std::string(length, 'n'), tensor.view()}});

    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->header.size() % 8, 0U);
  }
}

TEST(SafetensorsWriterTest, BorrowsTheTensors) {
  const Tensor tensor = RandomTensor(DataType::kFloat32, {4}, /*seed=*/1);

  const auto file = SerializeSafetensors({{"a", tensor.view()}});

  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->data.size(), 1U);
  EXPECT_EQ(file->data[0].data(), tensor.view().data);
}

TEST(SafetensorsWriterTest, RefusesTheReservedName) {
  const Tensor tensor = RandomTensor(DataType::kFloat32, {1}, /*seed=*/1);

  const auto file = SerializeSafetensors({{"__metadata__", tensor.view()}});

  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsWriterTest, RefusesANameThatIsNotUtf8) {
  const Tensor tensor = RandomTensor(DataType::kFloat32, {1}, /*seed=*/1);

  const auto file = SerializeSafetensors({{"\xFF", tensor.view()}});

  EXPECT_THAT(std::string(file.status().message()), HasSubstr("UTF-8"));
}

TEST(SafetensorsWriterTest, RefusesMetadataThatIsNotUtf8) {
  const auto file = SerializeSafetensors({}, {{"key", "\xC3"}});

  EXPECT_THAT(std::string(file.status().message()), HasSubstr("UTF-8"));
}

TEST(SafetensorsWriterTest, RefusesANameBeyondTheReadersLimit) {
  const Tensor tensor = RandomTensor(DataType::kFloat32, {1}, /*seed=*/1);

  const auto file =
      SerializeSafetensors({{std::string(1025, 'n'), tensor.view()}});

  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attention
