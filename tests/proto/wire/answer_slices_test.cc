// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/answer_slices.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/tensor/random_tensor.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

// An answer and what protobuf says it is.
struct OwnedAnswer {
  explicit OwnedAnswer(const Shape& shape)
      : tensor(std::make_shared<Tensor>(
            RandomTensor(DataType::kFloat32, shape, /*seed=*/1))) {
    fields.set_module_version(3);
    fields.set_batch_size(1);
    fields.mutable_timing()->set_compute_time_ns(5);
  }

  [[nodiscard]] ForwardAnswer answer() const {
    return {.fields = fields,
            .outputs = {.output = tensor->mutable_view(),
                        .weights = tensor->mutable_view()},
            .owner = tensor};
  }
  [[nodiscard]] v1::ForwardResponse message() const {
    v1::ForwardResponse message = fields;
    EncodeTensor(tensor->view(), message.mutable_output());
    EncodeTensor(tensor->view(), message.mutable_weights());
    return message;
  }

  std::shared_ptr<Tensor> tensor;
  v1::ForwardResponse fields;
};

std::string ToString(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(bytes.Dump(&slices).ok());
  std::string result;
  for (const grpc::Slice& slice : slices) {
    result.append(slice.begin(), slice.end());
  }
  return result;
}

class ForwardAnswerTest : public ::testing::TestWithParam<Shape> {};

TEST_P(ForwardAnswerTest, IsWhatProtobufParses) {
  const OwnedAnswer owned(GetParam());

  v1::ForwardResponse parsed;
  ASSERT_TRUE(
      parsed.ParseFromString(ToString(SerializeAnswer(owned.answer()))));

  EXPECT_EQ(parsed.SerializeAsString(), owned.message().SerializeAsString());
}

TEST_P(ForwardAnswerTest, IsWhatProtobufParsesOnAStream) {
  const OwnedAnswer owned(GetParam());
  v1::ForwardStreamResponse want;
  want.set_id(77);
  *want.mutable_response() = owned.message();

  v1::ForwardStreamResponse parsed;
  ASSERT_TRUE(parsed.ParseFromString(
      ToString(SerializeStreamAnswer(77, owned.answer()))));

  EXPECT_EQ(parsed.SerializeAsString(), want.SerializeAsString());
}

TEST_P(ForwardAnswerTest, FitsInTheBytesForeseen) {
  const OwnedAnswer owned(GetParam());

  EXPECT_LE(SerializeStreamAnswer(~0ULL, owned.answer()).Length(),
            AnswerBytes({.output = GetParam(), .weights = GetParam()},
                        DataType::kFloat32));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ForwardAnswerTest,
                         ::testing::Values(Shape{2, 3}, Shape{0, 8},
                                           Shape{1, 1, 1, 1, 1, 1, 1, 1},
                                           Shape{300, 500}));

TEST(ForwardAnswerLifetimeTest, LivesAsLongAsItsBytes) {
  for (const Shape& shape : {Shape{300, 500}, Shape{2, 3}}) {
    OwnedAnswer owned(shape);
    const std::weak_ptr<Tensor> observer = owned.tensor;
    grpc::ByteBuffer bytes = SerializeAnswer(owned.answer());

    owned.tensor.reset();
    EXPECT_FALSE(observer.expired());
    bytes.Clear();

    EXPECT_TRUE(observer.expired());
  }
}

}  // namespace
}  // namespace attention
