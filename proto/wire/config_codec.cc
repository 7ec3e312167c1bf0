// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/config_codec.h"

#include <google/protobuf/util/json_util.h>

#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/json.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

// An unset field of a message is an empty optional.
template <typename T>
std::optional<T> Optional(bool has, T value) {
  return has ? std::optional<T>(value) : std::nullopt;
}

absl::StatusOr<std::optional<DataType>> DecodeDtype(v1::DataType dtype) {
  if (dtype == v1::DATA_TYPE_UNSPECIFIED) return std::nullopt;
  return DecodeDataType(dtype);
}

absl::StatusOr<Activation> DecodeActivation(v1::Activation activation) {
  switch (activation) {
    case v1::ACTIVATION_UNSPECIFIED:
    case v1::ACTIVATION_RELU:
      return Activation::kRelu;
    case v1::ACTIVATION_GELU:
      return Activation::kGelu;
    default:
      return absl::InvalidArgumentError(
          FormatText("activation is {}, expected a known value of Activation",
                     static_cast<int>(activation)));
  }
}

absl::StatusOr<DataType> DecodeComputeDtype(v1::ComputeDtype compute_dtype) {
  switch (compute_dtype) {
    case v1::COMPUTE_DTYPE_UNSPECIFIED:
    case v1::COMPUTE_DTYPE_FLOAT32:
      return DataType::kFloat32;
    case v1::COMPUTE_DTYPE_BFLOAT16:
      return DataType::kBFloat16;
    default:
      return absl::InvalidArgumentError(FormatText(
          "compute_dtype is {}, expected a known value of ComputeDtype",
          static_cast<int>(compute_dtype)));
  }
}

absl::StatusOr<MultiHeadAttentionConfig> Decode(
    const v1::MultiHeadAttentionConfig& message) {
  MultiHeadAttentionConfig config;
  config.embed_dim = message.embed_dim();
  config.num_heads = message.num_heads();
  config.dropout = message.dropout();
  if (message.has_bias()) config.bias = message.bias();
  config.add_bias_kv = message.add_bias_kv();
  config.add_zero_attn = message.add_zero_attn();
  config.batch_first = message.batch_first();
  config.kdim = Optional(message.has_kdim(), message.kdim());
  config.vdim = Optional(message.has_vdim(), message.vdim());
  config.query_dim = Optional(message.has_query_dim(), message.query_dim());
  if (message.has_output_projection()) {
    config.output_projection = message.output_projection();
  }
  config.separate_projections = message.separate_projections();
  ATTENTION_ASSIGN_OR_RETURN(config.dtype, DecodeDtype(message.dtype()));
  return config;
}

absl::StatusOr<D2lMultiHeadAttentionConfig> Decode(
    const v1::D2lMultiHeadAttentionConfig& message) {
  D2lMultiHeadAttentionConfig config;
  config.num_hiddens = message.num_hiddens();
  config.num_heads = message.num_heads();
  config.dropout = message.dropout();
  config.bias = message.bias();
  config.query_size = Optional(message.has_query_size(), message.query_size());
  config.key_size = Optional(message.has_key_size(), message.key_size());
  config.value_size = Optional(message.has_value_size(), message.value_size());
  ATTENTION_ASSIGN_OR_RETURN(config.dtype, DecodeDtype(message.dtype()));
  return config;
}

absl::StatusOr<ScaledDotProductAttentionConfig> Decode(
    const v1::ScaledDotProductAttentionConfig& message) {
  ScaledDotProductAttentionConfig config;
  config.num_heads = message.num_heads();
  config.num_key_value_heads = Optional(message.has_num_key_value_heads(),
                                        message.num_key_value_heads());
  config.head_dim = message.head_dim();
  config.value_head_dim =
      Optional(message.has_value_head_dim(), message.value_head_dim());
  config.scale = Optional(message.has_scale(), message.scale());
  config.dropout = message.dropout();
  return config;
}

absl::StatusOr<D2lDotProductAttentionConfig> Decode(
    const v1::D2lDotProductAttentionConfig& message) {
  D2lDotProductAttentionConfig config;
  config.query_size = message.query_size();
  config.value_size = Optional(message.has_value_size(), message.value_size());
  config.dropout = message.dropout();
  return config;
}

absl::StatusOr<TransformerEncoderLayerConfig> Decode(
    const v1::TransformerEncoderLayerConfig& message) {
  TransformerEncoderLayerConfig config;
  config.d_model = message.d_model();
  config.nhead = message.nhead();
  if (message.has_dim_feedforward()) {
    config.dim_feedforward = message.dim_feedforward();
  }
  config.dropout = message.dropout();
  ATTENTION_ASSIGN_OR_RETURN(config.activation,
                             DecodeActivation(message.activation()));
  if (message.has_layer_norm_eps()) {
    config.layer_norm_eps = message.layer_norm_eps();
  }
  config.batch_first = message.batch_first();
  config.norm_first = message.norm_first();
  if (message.has_bias()) config.bias = message.bias();
  ATTENTION_ASSIGN_OR_RETURN(config.dtype, DecodeDtype(message.dtype()));
  config.separate_projections = message.separate_projections();
  return config;
}

absl::StatusOr<D2lTransformerEncoderBlockConfig> Decode(
    const v1::D2lTransformerEncoderBlockConfig& message) {
  D2lTransformerEncoderBlockConfig config;
  config.num_hiddens = message.num_hiddens();
  config.ffn_num_hiddens = message.ffn_num_hiddens();
  config.num_heads = message.num_heads();
  config.dropout = message.dropout();
  config.use_bias = message.use_bias();
  ATTENTION_ASSIGN_OR_RETURN(config.dtype, DecodeDtype(message.dtype()));
  return config;
}

absl::StatusOr<TransformerEncoderConfig> Decode(
    const v1::TransformerEncoderConfig& message) {
  TransformerEncoderConfig config;
  switch (message.layer_kind_case()) {
    case v1::TransformerEncoderConfig::kLayer: {
      ATTENTION_ASSIGN_OR_RETURN(config.layer, Decode(message.layer()));
      break;
    }
    case v1::TransformerEncoderConfig::kD2LBlock: {
      ATTENTION_ASSIGN_OR_RETURN(config.layer, Decode(message.d2l_block()));
      break;
    }
    case v1::TransformerEncoderConfig::LAYER_KIND_NOT_SET:
      return absl::InvalidArgumentError(
          "transformer_encoder has no layer, expected one of: layer, "
          "d2l_block");
  }
  config.num_layers = message.num_layers();
  config.norm = message.norm();
  if (message.has_norm_eps()) config.norm_eps = message.norm_eps();
  return config;
}

v1::DataType EncodeDtype(const std::optional<DataType>& dtype) {
  return dtype ? EncodeDataType(*dtype) : v1::DATA_TYPE_UNSPECIFIED;
}

void Encode(const MultiHeadAttentionConfig& config,
            v1::MultiHeadAttentionConfig* message) {
  message->set_embed_dim(config.embed_dim);
  message->set_num_heads(config.num_heads);
  message->set_dropout(config.dropout);
  message->set_bias(config.bias);
  message->set_add_bias_kv(config.add_bias_kv);
  message->set_add_zero_attn(config.add_zero_attn);
  if (config.kdim) message->set_kdim(*config.kdim);
  if (config.vdim) message->set_vdim(*config.vdim);
  message->set_batch_first(config.batch_first);
  message->set_dtype(EncodeDtype(config.dtype));
  if (config.query_dim) message->set_query_dim(*config.query_dim);
  if (!config.output_projection) message->set_output_projection(false);
  message->set_separate_projections(config.separate_projections);
}

void Encode(const D2lMultiHeadAttentionConfig& config,
            v1::D2lMultiHeadAttentionConfig* message) {
  message->set_num_hiddens(config.num_hiddens);
  message->set_num_heads(config.num_heads);
  message->set_dropout(config.dropout);
  message->set_bias(config.bias);
  if (config.query_size) message->set_query_size(*config.query_size);
  if (config.key_size) message->set_key_size(*config.key_size);
  if (config.value_size) message->set_value_size(*config.value_size);
  message->set_dtype(EncodeDtype(config.dtype));
}

void Encode(const ScaledDotProductAttentionConfig& config,
            v1::ScaledDotProductAttentionConfig* message) {
  message->set_num_heads(config.num_heads);
  if (config.num_key_value_heads) {
    message->set_num_key_value_heads(*config.num_key_value_heads);
  }
  message->set_head_dim(config.head_dim);
  if (config.value_head_dim) {
    message->set_value_head_dim(*config.value_head_dim);
  }
  if (config.scale) message->set_scale(*config.scale);
  message->set_dropout(config.dropout);
}

void Encode(const D2lDotProductAttentionConfig& config,
            v1::D2lDotProductAttentionConfig* message) {
  message->set_query_size(config.query_size);
  if (config.value_size) message->set_value_size(*config.value_size);
  message->set_dropout(config.dropout);
}

void Encode(const TransformerEncoderLayerConfig& config,
            v1::TransformerEncoderLayerConfig* message) {
  message->set_d_model(config.d_model);
  message->set_nhead(config.nhead);
  message->set_dim_feedforward(config.dim_feedforward);
  message->set_dropout(config.dropout);
  message->set_activation(config.activation == Activation::kGelu
                              ? v1::ACTIVATION_GELU
                              : v1::ACTIVATION_RELU);
  message->set_layer_norm_eps(config.layer_norm_eps);
  message->set_batch_first(config.batch_first);
  message->set_norm_first(config.norm_first);
  message->set_bias(config.bias);
  message->set_dtype(EncodeDtype(config.dtype));
  message->set_separate_projections(config.separate_projections);
}

void Encode(const D2lTransformerEncoderBlockConfig& config,
            v1::D2lTransformerEncoderBlockConfig* message) {
  message->set_num_hiddens(config.num_hiddens);
  message->set_ffn_num_hiddens(config.ffn_num_hiddens);
  message->set_num_heads(config.num_heads);
  message->set_dropout(config.dropout);
  message->set_use_bias(config.use_bias);
  message->set_dtype(EncodeDtype(config.dtype));
}

v1::TransformerEncoderLayerConfig* LayerOf(
    const TransformerEncoderLayerConfig& /*layer*/,
    v1::TransformerEncoderConfig* message) {
  return message->mutable_layer();
}
v1::D2lTransformerEncoderBlockConfig* LayerOf(
    const D2lTransformerEncoderBlockConfig& /*layer*/,
    v1::TransformerEncoderConfig* message) {
  return message->mutable_d2l_block();
}

void Encode(const TransformerEncoderConfig& config,
            v1::TransformerEncoderConfig* message) {
  std::visit([&](const auto& layer) { Encode(layer, LayerOf(layer, message)); },
             config.layer);
  message->set_num_layers(config.num_layers);
  message->set_norm(config.norm);
  message->set_norm_eps(config.norm_eps);
}

// The message of a config's kind.
struct KindOf {
  v1::ModuleConfig* message;

  auto* operator()(const MultiHeadAttentionConfig& /*config*/) const {
    return message->mutable_multi_head_attention();
  }
  auto* operator()(const D2lMultiHeadAttentionConfig& /*config*/) const {
    return message->mutable_d2l_multi_head_attention();
  }
  auto* operator()(const ScaledDotProductAttentionConfig& /*config*/) const {
    return message->mutable_scaled_dot_product_attention();
  }
  auto* operator()(const TransformerEncoderLayerConfig& /*config*/) const {
    return message->mutable_transformer_encoder_layer();
  }
  auto* operator()(const D2lTransformerEncoderBlockConfig& /*config*/) const {
    return message->mutable_d2l_transformer_encoder_block();
  }
  auto* operator()(const TransformerEncoderConfig& /*config*/) const {
    return message->mutable_transformer_encoder();
  }
  auto* operator()(const D2lDotProductAttentionConfig& /*config*/) const {
    return message->mutable_d2l_dot_product_attention();
  }
};

absl::StatusOr<ModuleConfig> DecodeKind(const v1::ModuleConfig& message) {
  switch (message.kind_case()) {
    case v1::ModuleConfig::kMultiHeadAttention:
      return Decode(message.multi_head_attention());
    case v1::ModuleConfig::kD2LMultiHeadAttention:
      return Decode(message.d2l_multi_head_attention());
    case v1::ModuleConfig::kScaledDotProductAttention:
      return Decode(message.scaled_dot_product_attention());
    case v1::ModuleConfig::kTransformerEncoderLayer:
      return Decode(message.transformer_encoder_layer());
    case v1::ModuleConfig::kD2LTransformerEncoderBlock:
      return Decode(message.d2l_transformer_encoder_block());
    case v1::ModuleConfig::kTransformerEncoder:
      return Decode(message.transformer_encoder());
    case v1::ModuleConfig::kD2LDotProductAttention:
      return Decode(message.d2l_dot_product_attention());
    case v1::ModuleConfig::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "config has no kind, expected one of: multi_head_attention, "
      "d2l_multi_head_attention, scaled_dot_product_attention, "
      "transformer_encoder_layer, d2l_transformer_encoder_block, "
      "transformer_encoder, d2l_dot_product_attention");
}

}  // namespace

absl::StatusOr<ModuleConfig> DecodeModuleConfig(
    const v1::ModuleConfig& message) {
  ATTENTION_ASSIGN_OR_RETURN(ModuleConfig config, DecodeKind(message));
  ATTENTION_ASSIGN_OR_RETURN(const DataType compute_dtype,
                             DecodeComputeDtype(message.compute_dtype()));
  SetComputeDtype(compute_dtype, config);
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  return config;
}

v1::ModuleConfig EncodeModuleConfig(const ModuleConfig& config) {
  v1::ModuleConfig message;
  std::visit([&](const auto& kind) { Encode(kind, KindOf{&message}(kind)); },
             config);
  // The default is left out: who does not know the field can read that.
  if (ComputeDtype(config) == DataType::kBFloat16) {
    message.set_compute_dtype(v1::COMPUTE_DTYPE_BFLOAT16);
  }
  return message;
}

WeightSource DecodeWeightSource(std::string_view prefix,
                                const v1::WeightNames& names) {
  WeightSource source;
  source.prefix = prefix;
  source.renamed.insert(names.renamed().begin(), names.renamed().end());
  source.transposed = names.transposed();
  source.zero_biases.insert(names.zero_biases().begin(),
                            names.zero_biases().end());
  source.ignored.insert(names.ignored().begin(), names.ignored().end());
  return source;
}

v1::WeightNames EncodeWeightNames(const WeightSource& source) {
  v1::WeightNames names;
  names.mutable_renamed()->insert(source.renamed.begin(), source.renamed.end());
  names.set_transposed(source.transposed);
  names.mutable_zero_biases()->Add(source.zero_biases.begin(),
                                   source.zero_biases.end());
  names.mutable_ignored()->Add(source.ignored.begin(), source.ignored.end());
  return names;
}

absl::StatusOr<ModuleConfig> ParseModuleConfigJson(std::string_view json) {
  v1::ModuleConfig message;
  ATTENTION_RETURN_IF_ERROR(ParseJson(json, &message));
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
