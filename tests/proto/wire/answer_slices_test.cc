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

std::shared_ptr<v1::ForwardResponse> MakeAnswer(const Shape& shape) {
  auto answer = std::make_shared<v1::ForwardResponse>();
  const Tensor tensor = RandomTensor(DataType::kFloat32, shape, /*seed=*/1);
  EncodeTensor(tensor.view(), answer->mutable_output());
  EncodeTensor(tensor.view(), answer->mutable_weights());
  answer->set_module_version(3);
  answer->set_batch_size(1);
  answer->mutable_timing()->set_compute_time_ns(5);
  return answer;
}

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
  const std::shared_ptr<v1::ForwardResponse> answer = MakeAnswer(GetParam());

  v1::ForwardResponse parsed;
  ASSERT_TRUE(parsed.ParseFromString(ToString(SerializeAnswer(answer))));

  EXPECT_EQ(parsed.SerializeAsString(), answer->SerializeAsString());
}

TEST_P(ForwardAnswerTest, IsWhatProtobufParsesOnAStream) {
  const std::shared_ptr<v1::ForwardResponse> answer = MakeAnswer(GetParam());
  v1::ForwardStreamResponse want;
  want.set_id(77);
  *want.mutable_response() = *answer;

  v1::ForwardStreamResponse parsed;
  ASSERT_TRUE(
      parsed.ParseFromString(ToString(SerializeStreamAnswer(77, answer))));

  EXPECT_EQ(parsed.SerializeAsString(), want.SerializeAsString());
}

TEST_P(ForwardAnswerTest, FitsInTheBytesForeseen) {
  const std::shared_ptr<v1::ForwardResponse> answer = MakeAnswer(GetParam());

  EXPECT_LE(SerializeStreamAnswer(~0ULL, answer).Length(),
            AnswerBytes({.output = GetParam(), .weights = GetParam()},
                        DataType::kFloat32));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ForwardAnswerTest,
                         ::testing::Values(Shape{2, 3}, Shape{0, 8},
                                           Shape{1, 1, 1, 1, 1, 1, 1, 1},
                                           Shape{300, 500}));

TEST(ForwardAnswerLifetimeTest, LivesAsLongAsItsBytes) {
  std::shared_ptr<v1::ForwardResponse> answer = MakeAnswer({300, 500});
  const std::weak_ptr<v1::ForwardResponse> observer = answer;
  grpc::ByteBuffer bytes = SerializeAnswer(answer);

  answer.reset();
  EXPECT_FALSE(observer.expired());
  bytes.Clear();

  EXPECT_TRUE(observer.expired());
}

}  // namespace
}  // namespace attention
