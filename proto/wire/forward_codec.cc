// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/forward_codec.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

absl::StatusOr<Causal> DecodeCausal(v1::Causal causal) {
  switch (causal) {
    case v1::CAUSAL_UNSPECIFIED:
      return Causal::kNone;
    case v1::CAUSAL_TOP_LEFT:
      return Causal::kTopLeft;
    case v1::CAUSAL_BOTTOM_RIGHT:
      return Causal::kBottomRight;
    default:
      return absl::InvalidArgumentError(
          FormatText("causal is {}, expected a known value of Causal",
                     static_cast<int>(causal)));
  }
}

v1::Causal EncodeCausal(Causal causal) {
  switch (causal) {
    case Causal::kNone:
      return v1::CAUSAL_UNSPECIFIED;
    case Causal::kTopLeft:
      return v1::CAUSAL_TOP_LEFT;
    case Causal::kBottomRight:
      return v1::CAUSAL_BOTTOM_RIGHT;
  }
  return v1::CAUSAL_UNSPECIFIED;
}

absl::StatusOr<MaskedRowPolicy> DecodeMaskedRowPolicy(
    v1::MaskedRowPolicy policy) {
  switch (policy) {
    case v1::MASKED_ROW_POLICY_UNSPECIFIED:
    case v1::MASKED_ROW_POLICY_TORCH:
      return MaskedRowPolicy::kTorch;
    case v1::MASKED_ROW_POLICY_ZERO:
      return MaskedRowPolicy::kZero;
    case v1::MASKED_ROW_POLICY_NAN:
      return MaskedRowPolicy::kNaN;
    default:
      return absl::InvalidArgumentError(FormatText(
          "masked_row_policy is {}, expected a known value of MaskedRowPolicy",
          static_cast<int>(policy)));
  }
}

v1::MaskedRowPolicy EncodeMaskedRowPolicy(MaskedRowPolicy policy) {
  switch (policy) {
    case MaskedRowPolicy::kTorch:
      return v1::MASKED_ROW_POLICY_TORCH;
    case MaskedRowPolicy::kZero:
      return v1::MASKED_ROW_POLICY_ZERO;
    case MaskedRowPolicy::kNaN:
      return v1::MASKED_ROW_POLICY_NAN;
  }
  return v1::MASKED_ROW_POLICY_UNSPECIFIED;
}

// The tensor of a field, and its place among those of kForwardTensorFields.
enum Place : std::size_t {
  kQuery,
  kKey,
  kValue,
  kAttnMask,
  kKeyPaddingMask,
  kValidLens
};

absl::Status DecodeTensors(const v1::ForwardRequest& message,
                           const ForwardElements& elements,
                           AttentionInputs* inputs) {
  if (!message.has_query()) {
    return absl::InvalidArgumentError("query is not set, expected a tensor");
  }
  ATTENTION_ASSIGN_OR_RETURN(
      inputs->query, DecodeTensor(message.query(), elements[kQuery], "query"));
  const auto decode = [&](bool is_set, const v1::Tensor& tensor, Place place,
                          std::string_view where,
                          std::optional<TensorView>& to) -> absl::Status {
    if (!is_set) return absl::OkStatus();
    ATTENTION_ASSIGN_OR_RETURN(to,
                               DecodeTensor(tensor, elements[place], where));
    return absl::OkStatus();
  };
  ATTENTION_RETURN_IF_ERROR(
      decode(message.has_key(), message.key(), kKey, "key", inputs->key));
  ATTENTION_RETURN_IF_ERROR(decode(message.has_value(), message.value(), kValue,
                                   "value", inputs->value));
  ATTENTION_RETURN_IF_ERROR(decode(message.has_attn_mask(), message.attn_mask(),
                                   kAttnMask, "attn_mask", inputs->attn_mask));
  ATTENTION_RETURN_IF_ERROR(
      decode(message.has_key_padding_mask(), message.key_padding_mask(),
             kKeyPaddingMask, "key_padding_mask", inputs->key_padding_mask));
  return decode(message.has_valid_lens(), message.valid_lens(), kValidLens,
                "valid_lens", inputs->valid_lens);
}

}  // namespace

ForwardElements ElementsOf(const v1::ForwardRequest& message) {
  const auto data = [](const v1::Tensor& tensor) {
    return std::as_bytes(std::span(tensor.data()));
  };
  return {data(message.query()),
          data(message.key()),
          data(message.value()),
          data(message.attn_mask()),
          data(message.key_padding_mask()),
          data(message.valid_lens())};
}

absl::StatusOr<AttentionInputs> DecodeForwardRequest(
    const v1::ForwardRequest& message) {
  return DecodeForwardRequest(message, ElementsOf(message));
}

absl::StatusOr<AttentionInputs> DecodeForwardRequest(
    const v1::ForwardRequest& message, const ForwardElements& elements) {
  AttentionInputs inputs;
  ATTENTION_RETURN_IF_ERROR(DecodeTensors(message, elements, &inputs));
  ATTENTION_ASSIGN_OR_RETURN(inputs.causal, DecodeCausal(message.causal()));
  ATTENTION_ASSIGN_OR_RETURN(
      inputs.masked_row_policy,
      DecodeMaskedRowPolicy(message.masked_row_policy()));
  inputs.is_causal = message.is_causal();
  inputs.need_weights = message.need_weights();
  if (message.has_average_attn_weights()) {
    inputs.average_attn_weights = message.average_attn_weights();
  }
  inputs.training = message.training();
  inputs.dropout_seed = message.dropout_seed();
  inputs.query_lengths.assign(message.query_lengths().begin(),
                              message.query_lengths().end());
  inputs.key_lengths.assign(message.key_lengths().begin(),
                            message.key_lengths().end());
  return inputs;
}

std::array<const TensorView*, kNumForwardTensors> TensorsOf(
    const AttentionInputs& inputs) {
  const auto pointer = [](const std::optional<TensorView>& tensor) {
    return tensor ? &*tensor : nullptr;
  };
  return {&inputs.query,
          pointer(inputs.key),
          pointer(inputs.value),
          pointer(inputs.attn_mask),
          pointer(inputs.key_padding_mask),
          pointer(inputs.valid_lens)};
}

v1::ForwardRequest EncodeForwardFields(std::string_view module,
                                       const AttentionInputs& inputs) {
  v1::ForwardRequest message;
  message.set_module(module.data(), module.size());
  message.set_causal(EncodeCausal(inputs.causal));
  message.set_is_causal(inputs.is_causal);
  message.set_need_weights(inputs.need_weights);
  message.set_average_attn_weights(inputs.average_attn_weights);
  message.set_masked_row_policy(
      EncodeMaskedRowPolicy(inputs.masked_row_policy));
  message.set_training(inputs.training);
  message.set_dropout_seed(inputs.dropout_seed);
  message.mutable_query_lengths()->Assign(inputs.query_lengths.begin(),
                                          inputs.query_lengths.end());
  message.mutable_key_lengths()->Assign(inputs.key_lengths.begin(),
                                        inputs.key_lengths.end());
  return message;
}

v1::ForwardRequest EncodeForwardRequest(std::string_view module,
                                        const AttentionInputs& inputs) {
  v1::ForwardRequest message = EncodeForwardFields(module, inputs);
  EncodeTensor(inputs.query, message.mutable_query());
  if (inputs.key) EncodeTensor(*inputs.key, message.mutable_key());
  if (inputs.value) EncodeTensor(*inputs.value, message.mutable_value());
  if (inputs.attn_mask) {
    EncodeTensor(*inputs.attn_mask, message.mutable_attn_mask());
  }
  if (inputs.key_padding_mask) {
    EncodeTensor(*inputs.key_padding_mask, message.mutable_key_padding_mask());
  }
  if (inputs.valid_lens) {
    EncodeTensor(*inputs.valid_lens, message.mutable_valid_lens());
  }
  return message;
}

}  // namespace attention
