// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/forward_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string>

#include "core/tensor/random_tensor.h"
#include "tests/testing/tensor_compare.h"

namespace attention {
namespace {

using ::testing::HasSubstr;
using testing::IsIdentical;

v1::ForwardRequest Request() {
  v1::ForwardRequest request;
  request.set_module("m");
  request.mutable_query()->set_dtype(v1::DATA_TYPE_FLOAT32);
  request.mutable_query()->add_shape(2);
  request.mutable_query()->add_shape(3);
  request.mutable_query()->set_data(std::string(24, '\0'));
  return request;
}

TEST(ForwardCodecTest, AppliesTheDefaultsOfTheProto) {
  const v1::ForwardRequest request = Request();

  const absl::StatusOr<AttentionInputs> inputs = DecodeForwardRequest(request);

  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_FALSE(inputs->key);
  EXPECT_FALSE(inputs->attn_mask);
  EXPECT_FALSE(inputs->need_weights);
  EXPECT_TRUE(inputs->average_attn_weights);
  EXPECT_EQ(inputs->causal, Causal::kNone);
  EXPECT_EQ(inputs->masked_row_policy, MaskedRowPolicy::kTorch);
}

TEST(ForwardCodecTest, DecodesEveryFieldItEncoded) {
  const Tensor tensor = RandomTensor(DataType::kFloat64, {2, 3}, /*seed=*/1);
  AttentionInputs inputs;
  inputs.query = tensor.view();
  inputs.key = tensor.view();
  inputs.value = tensor.view();
  inputs.attn_mask = tensor.view();
  inputs.key_padding_mask = tensor.view();
  inputs.valid_lens = tensor.view();
  inputs.causal = Causal::kBottomRight;
  inputs.is_causal = true;
  inputs.need_weights = true;
  inputs.average_attn_weights = false;
  inputs.masked_row_policy = MaskedRowPolicy::kNaN;
  inputs.training = true;
  inputs.dropout_seed = 7;
  inputs.query_lengths = {1, 1};
  inputs.key_lengths = {0, 2};

  const v1::ForwardRequest request = EncodeForwardRequest("m", inputs);
  const absl::StatusOr<AttentionInputs> decoded = DecodeForwardRequest(request);

  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(request.module(), "m");
  for (const TensorView& view :
       {decoded->query, *decoded->key, *decoded->value, *decoded->attn_mask,
        *decoded->key_padding_mask, *decoded->valid_lens}) {
    EXPECT_TRUE(IsIdentical(view, tensor.view()));
  }
  EXPECT_EQ(decoded->causal, Causal::kBottomRight);
  EXPECT_TRUE(decoded->is_causal);
  EXPECT_TRUE(decoded->need_weights);
  EXPECT_FALSE(decoded->average_attn_weights);
  EXPECT_EQ(decoded->masked_row_policy, MaskedRowPolicy::kNaN);
  EXPECT_TRUE(decoded->training);
  EXPECT_EQ(decoded->dropout_seed, 7U);
  EXPECT_EQ(decoded->query_lengths, inputs.query_lengths);
  EXPECT_EQ(decoded->key_lengths, inputs.key_lengths);
}

TEST(ForwardCodecTest, RequiresAQuery) {
  v1::ForwardRequest request = Request();
  request.clear_query();

  const absl::Status status = DecodeForwardRequest(request).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("query"));
}

TEST(ForwardCodecTest, RefusesUnknownEnumerators) {
  v1::ForwardRequest causal = Request();
  causal.set_causal(static_cast<v1::Causal>(9));
  v1::ForwardRequest policy = Request();
  policy.set_masked_row_policy(static_cast<v1::MaskedRowPolicy>(9));

  EXPECT_THAT(std::string(DecodeForwardRequest(causal).status().message()),
              HasSubstr("causal is 9"));
  EXPECT_THAT(std::string(DecodeForwardRequest(policy).status().message()),
              HasSubstr("masked_row_policy is 9"));
}

TEST(ForwardCodecTest, NamesTheTensorThatIsBad) {
  v1::ForwardRequest request = Request();
  *request.mutable_value() = request.query();
  request.mutable_value()->mutable_data()->pop_back();

  EXPECT_THAT(std::string(DecodeForwardRequest(request).status().message()),
              HasSubstr("value: "));
}

TEST(ForwardCodecTest, TakesElementsThatLieElsewhere) {
  v1::ForwardRequest request = Request();
  const std::string data = request.query().data();
  ForwardElements elements = ElementsOf(request);
  elements[0] = std::as_bytes(std::span(data));
  request.mutable_query()->clear_data();

  const absl::StatusOr<AttentionInputs> inputs =
      DecodeForwardRequest(request, elements);

  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->query.data,
            reinterpret_cast<const std::byte*>(data.data()));
}

}  // namespace
}  // namespace attention
