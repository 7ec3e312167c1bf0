// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/forward_result.h"

#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "attention/v1/attention_service.pb.h"
#include "core/tensor/random_tensor.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

const Tensor& Output() {
  static const Tensor output = RandomTensor(DataType::kFloat32, {40, 50}, 1);
  return output;
}

bool IsIdentical(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::memcmp(a.data, b.data, a.num_bytes()) == 0;
}

v1::ForwardResponse MakeResponse() {
  v1::ForwardResponse response;
  EncodeTensor(Output().view(), response.mutable_output());
  response.set_module_version(7);
  return response;
}

// In pieces, as gRPC delivers a message.
grpc::ByteBuffer ToBytes(const v1::ForwardResponse& response) {
  const std::string bytes = response.SerializeAsString();
  std::vector<grpc::Slice> slices;
  for (std::size_t at = 0; at < bytes.size(); at += 777) {
    slices.emplace_back(bytes.substr(at, 777));
  }
  return {slices.data(), slices.size()};
}

TEST(ForwardResultTest, HasWhatTheServerAnswered) {
  const auto result = ForwardResult::Parse(ToBytes(MakeResponse()));

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(IsIdentical(result->output(), Output().view()));
  EXPECT_FALSE(result->weights());
  EXPECT_EQ(result->module_version(), 7U);
}

TEST(ForwardResultTest, PutsElementsWhereTheyAreWanted) {
  v1::ForwardResponse response = MakeResponse();
  const Tensor weights = RandomTensor(DataType::kFloat32, {3, 3}, 2);
  EncodeTensor(weights.view(), response.mutable_weights());
  Tensor output(DataType::kFloat32, {40, 50});
  Tensor there(DataType::kFloat32, {3, 3});
  const AttentionOutputs into{output.mutable_view(), there.mutable_view()};

  const auto result = ForwardResult::Parse(ToBytes(response), &into);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output().data, output.view().data);
  EXPECT_TRUE(IsIdentical(output.view(), Output().view()));
  EXPECT_TRUE(IsIdentical(there.view(), weights.view()));
}

TEST(ForwardResultTest, DoesNotTouchMemoryOfAnotherShape) {
  Tensor output(DataType::kFloat32, {50, 40});
  const AttentionOutputs into{output.mutable_view(), {}};

  const auto result = ForwardResult::Parse(ToBytes(MakeResponse()), &into);

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(result.status().message(),
            "output: the answer is float32 (40, 50), expected memory for it, "
            "got float32 (50, 40)");
}

TEST(ForwardResultTest, WantsMemoryForWeightsWhereThereAreSome) {
  v1::ForwardResponse response = MakeResponse();
  *response.mutable_weights() = response.output();
  Tensor output(DataType::kFloat32, {40, 50});
  const AttentionOutputs into{output.mutable_view(), {}};

  EXPECT_EQ(ForwardResult::Parse(ToBytes(response), &into).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ForwardResultTest, RejectsAnswerWithoutOutput) {
  EXPECT_EQ(
      ForwardResult::Parse(ToBytes(v1::ForwardResponse())).status().code(),
      absl::StatusCode::kInternal);
}

TEST(ForwardResultTest, RejectsWeightsShorterThanTheirShape) {
  v1::ForwardResponse response = MakeResponse();
  *response.mutable_weights() = response.output();
  response.mutable_weights()->set_shape(0, 41);

  EXPECT_EQ(ForwardResult::Parse(ToBytes(response)).status().code(),
            absl::StatusCode::kInternal);
}

TEST(ForwardResultTest, RejectsWhatIsNoAnswer) {
  const grpc::Slice slice("\xFF\xFF");

  EXPECT_EQ(ForwardResult::Parse({&slice, 1}).status().code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace attention
