// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/config_codec.h"

#include <google/protobuf/util/json_util.h>

#include <format>

#include "absl/status/status.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

absl::StatusOr<ModuleConfig> DecodeMultiHeadAttention(
    const v1::MultiHeadAttentionConfig& message) {
  MultiHeadAttentionConfig config;
  config.embed_dim = message.embed_dim();
  config.num_heads = message.num_heads();
  config.dropout = message.dropout();
  if (message.has_bias()) config.bias = message.bias();
  config.add_bias_kv = message.add_bias_kv();
  config.add_zero_attn = message.add_zero_attn();
  config.batch_first = message.batch_first();
  if (message.has_kdim()) config.kdim = message.kdim();
  if (message.has_vdim()) config.vdim = message.vdim();
  if (message.dtype() != v1::DATA_TYPE_UNSPECIFIED) {
    ATTENTION_ASSIGN_OR_RETURN(config.dtype, DecodeDataType(message.dtype()));
  }
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  return config;
}

void EncodeKind(const MultiHeadAttentionConfig& config,
                v1::ModuleConfig* message) {
  v1::MultiHeadAttentionConfig* kind = message->mutable_multi_head_attention();
  kind->set_embed_dim(config.embed_dim);
  kind->set_num_heads(config.num_heads);
  kind->set_dropout(config.dropout);
  kind->set_bias(config.bias);
  kind->set_add_bias_kv(config.add_bias_kv);
  kind->set_add_zero_attn(config.add_zero_attn);
  if (config.kdim) kind->set_kdim(*config.kdim);
  if (config.vdim) kind->set_vdim(*config.vdim);
  kind->set_batch_first(config.batch_first);
  if (config.dtype) kind->set_dtype(EncodeDataType(*config.dtype));
}

}  // namespace

absl::StatusOr<ModuleConfig> DecodeModuleConfig(
    const v1::ModuleConfig& message) {
  switch (message.kind_case()) {
    case v1::ModuleConfig::kMultiHeadAttention:
      return DecodeMultiHeadAttention(message.multi_head_attention());
    case v1::ModuleConfig::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "config has no kind, expected one of: multi_head_attention");
}

v1::ModuleConfig EncodeModuleConfig(const ModuleConfig& config) {
  v1::ModuleConfig message;
  std::visit([&message](const auto& kind) { EncodeKind(kind, &message); },
             config);
  return message;
}

absl::StatusOr<ModuleConfig> ParseModuleConfigJson(std::string_view json) {
  v1::ModuleConfig message;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &message,
      options);
  if (!status.ok()) {
    return absl::InvalidArgumentError(std::format(
        "config is not the JSON form of ModuleConfig: {}",
        std::string_view(status.message().data(), status.message().size())));
  }
  return DecodeModuleConfig(message);
}

std::string ModuleConfigToJson(const ModuleConfig& config) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  // Fails only for types that cannot be resolved, which generated ones can.
  const auto status = google::protobuf::util::MessageToJsonString(
      EncodeModuleConfig(config), &json, options);
  GOOGLE_CHECK(status.ok()) << "a generated message has no JSON form";
  return json;
}

}  // namespace attention
