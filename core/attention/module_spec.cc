// SPDX-License-Identifier: Apache-2.0
#include "core/attention/module_spec.h"

#include <cmath>
#include <variant>

namespace attention {
namespace {

double DefaultScale(std::int64_t head_dim) {
  return 1.0 / std::sqrt(static_cast<double>(head_dim));
}

// Heads of one size throughout, which together are embed_dim wide.
void SetHeads(std::int64_t embed_dim, std::int64_t num_heads,
              AttentionSpec& spec) {
  spec.num_heads = num_heads;
  spec.num_key_value_heads = num_heads;
  spec.head_dim = embed_dim / num_heads;
  spec.value_head_dim = spec.head_dim;
  spec.scale = DefaultScale(spec.head_dim);
}

ModuleSpec Resolve(const MultiHeadAttentionConfig& config) {
  ModuleSpec spec;
  AttentionSpec& attention = spec.attention;
  attention.query_dim = config.query_dim.value_or(config.embed_dim);
  attention.key_dim = config.key_dim();
  attention.value_dim = config.value_dim();
  if (config.query_dim) attention.width_names[0] = "query_dim";
  SetHeads(config.embed_dim, config.num_heads, attention);
  attention.output_projection = config.output_projection;
  attention.add_bias_kv = config.add_bias_kv;
  attention.add_zero_attn = config.add_zero_attn;
  attention.batch_first = config.batch_first;
  attention.dropout = config.dropout;
  return spec;
}

// What all of d2l's attention has in common.
void SetD2lRules(AttentionSpec& spec) {
  spec.width_names = {"query_size", "key_size", "value_size"};
  spec.batch_first = true;
  spec.is_causal = IsCausal::kRefused;
  spec.replaces_scores = true;
  spec.weights_before_dropout = true;
}

ModuleSpec Resolve(const D2lMultiHeadAttentionConfig& config) {
  ModuleSpec spec;
  AttentionSpec& attention = spec.attention;
  attention.query_dim = config.query_size.value_or(config.num_hiddens);
  attention.key_dim = config.key_size.value_or(config.num_hiddens);
  attention.value_dim = config.value_size.value_or(config.num_hiddens);
  SetHeads(config.num_hiddens, config.num_heads, attention);
  SetD2lRules(attention);
  attention.dropout = config.dropout;
  return spec;
}

ModuleSpec Resolve(const ScaledDotProductAttentionConfig& config) {
  ModuleSpec spec;
  AttentionSpec& attention = spec.attention;
  attention.num_heads = config.num_heads;
  attention.num_key_value_heads =
      config.num_key_value_heads.value_or(config.num_heads);
  attention.head_dim = config.head_dim;
  attention.value_head_dim = config.value_head_dim.value_or(config.head_dim);
  attention.scale = config.scale.value_or(DefaultScale(config.head_dim));
  attention.query_dim = attention.query_width();
  attention.key_dim = attention.key_width();
  attention.value_dim = attention.value_width();
  attention.width_names = {"num_heads * head_dim",
                           "num_key_value_heads * head_dim",
                           "num_key_value_heads * value_head_dim"};
  attention.input_projections = false;
  attention.output_projection = false;
  attention.batch_first = true;
  attention.dropout = config.dropout;
  attention.is_causal = IsCausal::kMask;
  attention.masked_rows_are_nan_with_weights = false;
  return spec;
}

ModuleSpec Resolve(const D2lDotProductAttentionConfig& config) {
  ModuleSpec spec;
  AttentionSpec& attention = spec.attention;
  SetHeads(config.query_size, /*num_heads=*/1, attention);
  attention.value_head_dim = config.value_size.value_or(config.query_size);
  attention.query_dim = attention.query_width();
  attention.key_dim = attention.key_width();
  attention.value_dim = attention.value_width();
  SetD2lRules(attention);
  attention.width_names[1] = "query_size";  // which is key's, too
  attention.input_projections = false;
  attention.output_projection = false;
  attention.dropout = config.dropout;
  return spec;
}

ModuleSpec Resolve(const TransformerEncoderLayerConfig& config) {
  ModuleSpec spec = Resolve(MultiHeadAttentionConfig{
      .embed_dim = config.d_model,
      .num_heads = config.nhead,
      .dropout = config.dropout,
      .batch_first = config.batch_first,
  });
  spec.attention.width_names[0] = "d_model";
  spec.encoder = EncoderSpec{.feed_forward_dim = config.dim_feedforward,
                             .activation = config.activation,
                             .norm_eps = config.layer_norm_eps,
                             .norm_first = config.norm_first,
                             .drops_activation = true};
  return spec;
}

ModuleSpec Resolve(const D2lTransformerEncoderBlockConfig& config) {
  ModuleSpec spec = Resolve(D2lMultiHeadAttentionConfig{
      .num_hiddens = config.num_hiddens,
      .num_heads = config.num_heads,
      .dropout = config.dropout,
  });
  spec.attention.width_names[0] = "num_hiddens";
  spec.encoder = EncoderSpec{.feed_forward_dim = config.ffn_num_hiddens,
                             .activation = Activation::kRelu,
                             .norm_eps = 1e-5,
                             .norm_first = false,
                             .drops_activation = false};
  return spec;
}

ModuleSpec Resolve(const TransformerEncoderConfig& config) {
  ModuleSpec spec = std::visit([](const auto& layer) { return Resolve(layer); },
                               config.layer);
  spec.num_layers = config.num_layers;
  if (config.norm) spec.final_norm_eps = config.norm_eps;
  return spec;
}

}  // namespace

ModuleSpec SpecOf(const ModuleConfig& config) {
  ModuleSpec spec =
      std::visit([](const auto& kind) { return Resolve(kind); }, config);
  spec.attention.compute_dtype = ComputeDtype(config);
  return spec;
}

}  // namespace attention
