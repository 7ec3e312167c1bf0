// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/forward_result.h"

#include <gtest/gtest.h>

#include "attention/v1/attention_service.pb.h"

namespace attention {
namespace {

std::shared_ptr<v1::ForwardResponse> MakeResponse() {
  auto response = std::make_shared<v1::ForwardResponse>();
  v1::Tensor& output = *response->mutable_output();
  output.set_dtype(v1::DATA_TYPE_FLOAT32);
  output.add_shape(2);
  output.mutable_data()->assign(8, '\0');
  return response;
}

TEST(ForwardResultTest, ViewsTheMessageWithoutCopying) {
  const auto response = MakeResponse();

  const auto result = ForwardResult::Create(response);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(static_cast<const void*>(result->output().data),
            static_cast<const void*>(response->output().data().data()));
}

TEST(ForwardResultTest, RejectsAnswerWithoutOutput) {
  const auto result =
      ForwardResult::Create(std::make_shared<v1::ForwardResponse>());

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
}

TEST(ForwardResultTest, RejectsWeightsShorterThanTheirShape) {
  const auto response = MakeResponse();
  *response->mutable_weights() = response->output();
  response->mutable_weights()->set_shape(0, 3);

  const auto result = ForwardResult::Create(response);

  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace attention
