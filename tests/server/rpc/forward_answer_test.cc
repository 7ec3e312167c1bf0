// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_answer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/tensor/random_tensor.h"
#include "proto/wire/tensor_codec.h"
#include "server/rpc/message_bytes.h"

namespace attention {
namespace {

std::shared_ptr<ForwardAnswer> MakeAnswer(const Shape& shape) {
  auto answer = std::make_shared<ForwardAnswer>();
  const Tensor tensor = RandomTensor(DataType::kFloat32, shape, /*seed=*/1);
  EncodeTensor(tensor.view(), answer->response.mutable_output());
  EncodeTensor(tensor.view(), answer->response.mutable_weights());
  answer->response.set_module_version(3);
  answer->response.set_batch_size(1);
  answer->response.mutable_timing()->set_compute_time_ns(5);
  return answer;
}

class ForwardAnswerTest : public ::testing::TestWithParam<Shape> {};

TEST_P(ForwardAnswerTest, IsWhatProtobufParses) {
  const std::shared_ptr<ForwardAnswer> answer = MakeAnswer(GetParam());

  grpc::ByteBuffer bytes = SerializeAnswer(answer);
  v1::ForwardResponse parsed;
  ASSERT_TRUE(ParseMessage(&bytes, kMaxUploadMessageBytes, &parsed).ok());

  EXPECT_EQ(parsed.SerializeAsString(), answer->response.SerializeAsString());
}

TEST_P(ForwardAnswerTest, IsWhatProtobufParsesOnAStream) {
  const std::shared_ptr<ForwardAnswer> answer = MakeAnswer(GetParam());
  v1::ForwardStreamResponse want;
  want.set_id(77);
  *want.mutable_response() = answer->response;

  grpc::ByteBuffer bytes = SerializeStreamAnswer(77, answer);
  v1::ForwardStreamResponse parsed;
  ASSERT_TRUE(ParseMessage(&bytes, kMaxUploadMessageBytes, &parsed).ok());

  EXPECT_EQ(parsed.SerializeAsString(), want.SerializeAsString());
}

TEST_P(ForwardAnswerTest, FitsInTheBytesForeseen) {
  const std::shared_ptr<ForwardAnswer> answer = MakeAnswer(GetParam());

  EXPECT_LE(SerializeStreamAnswer(~0ULL, answer).Length(),
            AnswerBytes({.output = GetParam(), .weights = GetParam()},
                        DataType::kFloat32));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ForwardAnswerTest,
                         ::testing::Values(Shape{2, 3}, Shape{0, 8},
                                           Shape{1, 1, 1, 1, 1, 1, 1, 1},
                                           Shape{300, 500}));

TEST(ForwardAnswerLifetimeTest, LivesAsLongAsItsBytes) {
  std::shared_ptr<ForwardAnswer> answer = MakeAnswer({300, 500});
  const std::weak_ptr<ForwardAnswer> observer = answer;
  grpc::ByteBuffer bytes = SerializeAnswer(answer);

  answer.reset();
  EXPECT_FALSE(observer.expired());
  bytes.Clear();

  EXPECT_TRUE(observer.expired());
}

}  // namespace
}  // namespace attention
