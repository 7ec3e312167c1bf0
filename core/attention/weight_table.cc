// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weight_table.h"

#include <optional>
#include <string_view>
#include <utility>

namespace attention {
namespace {

// The value, made if there is none yet.
template <typename T>
T& Ensure(std::optional<T>& value) {
  return value ? *value : value.emplace();
}

// Adds rows under a common prefix.
class TableWriter {
 public:
  TableWriter(std::vector<WeightTableRow>& table, std::string prefix)
      : table_(table), prefix_(std::move(prefix)) {}

  [[nodiscard]] TableWriter Inside(std::string_view name) const {
    return {table_, prefix_ + std::string(name) + "."};
  }

  // A tensor that is one parameter.
  void Add(std::string_view name, const Shape& shape, Tensor& parameter) {
    table_.push_back({prefix_ + std::string(name), shape, shape, {&parameter}});
  }
  void Add(std::string_view name, const Shape& shape,
           std::optional<Tensor>& parameter) {
    Add(name, shape, Ensure(parameter));
  }
  void Add(WeightTableRow row) {
    row.name = prefix_ + row.name;
    table_.push_back(std::move(row));
  }

  // A torch.nn.Linear: NAME.weight [out, in] and NAME.bias [out].
  void AddLinear(std::string_view name, const Shape& shape, bool bias,
                 LinearWeights& linear) {
    TableWriter inside = Inside(name);
    inside.Add("weight", shape, linear.weight);
    if (bias) inside.Add("bias", {shape.dim(0)}, linear.bias);
  }

  // A torch.nn.LayerNorm over rows of `width`.
  void AddNorm(std::string_view name, std::int64_t width, bool bias,
               NormWeights& norm) {
    TableWriter inside = Inside(name);
    inside.Add("weight", {width}, norm.weight);
    if (bias) inside.Add("bias", {width}, norm.bias);
  }

 private:
  std::vector<WeightTableRow>& table_;
  std::string prefix_;
};

void AddAttention(const MultiHeadAttentionConfig& config, TableWriter table,
                  AttentionWeights& weights) {
  const std::int64_t width = config.embed_dim;
  const std::int64_t kdim = config.key_dim();
  const std::int64_t vdim = config.value_dim();
  if (config.separate_projections) {
    const std::int64_t query_dim = config.query_dim.value_or(width);
    table.AddLinear("q_proj", {width, query_dim}, config.bias, weights.query);
    table.AddLinear("k_proj", {width, kdim}, config.bias, weights.key);
    table.AddLinear("v_proj", {width, vdim}, config.bias, weights.value);
  } else {
    if (kdim == width && vdim == width) {
      table.Add({"in_proj_weight",
                 {3 * width, width},
                 {width, width},
                 {&weights.query.weight, &weights.key.weight,
                  &weights.value.weight}});
    } else {
      table.Add("q_proj_weight", {width, width}, weights.query.weight);
      table.Add("k_proj_weight", {width, kdim}, weights.key.weight);
      table.Add("v_proj_weight", {width, vdim}, weights.value.weight);
    }
    if (config.bias) {
      table.Add({"in_proj_bias",
                 {3 * width},
                 {width},
                 {&Ensure(weights.query.bias), &Ensure(weights.key.bias),
                  &Ensure(weights.value.bias)}});
    }
  }
  if (config.add_bias_kv) {
    table.Add({"bias_k", {1, 1, width}, {width}, {&Ensure(weights.bias_k)}});
    table.Add({"bias_v", {1, 1, width}, {width}, {&Ensure(weights.bias_v)}});
  }
  if (config.output_projection) {
    table.AddLinear("out_proj", {width, width}, config.bias, weights.output);
  }
}

void AddAttention(const D2lMultiHeadAttentionConfig& config, TableWriter table,
                  AttentionWeights& weights) {
  const std::int64_t width = config.num_hiddens;
  table.AddLinear("W_q", {width, config.query_size.value_or(width)},
                  config.bias, weights.query);
  table.AddLinear("W_k", {width, config.key_size.value_or(width)}, config.bias,
                  weights.key);
  table.AddLinear("W_v", {width, config.value_size.value_or(width)},
                  config.bias, weights.value);
  table.AddLinear("W_o", {width, width}, config.bias, weights.output);
}

void AddLayer(const TransformerEncoderLayerConfig& config, TableWriter table,
              LayerWeights& weights) {
  const std::int64_t width = config.d_model;
  const std::int64_t inner = config.dim_feedforward;
  AddAttention(
      MultiHeadAttentionConfig{
          .embed_dim = width,
          .num_heads = config.nhead,
          .bias = config.bias,
          .separate_projections = config.separate_projections,
      },
      table.Inside("self_attn"), weights.attention);
  table.AddLinear("linear1", {inner, width}, config.bias, weights.linear1);
  table.AddLinear("linear2", {width, inner}, config.bias, weights.linear2);
  table.AddNorm("norm1", width, config.bias, weights.norm1);
  table.AddNorm("norm2", width, config.bias, weights.norm2);
}

void AddLayer(const D2lTransformerEncoderBlockConfig& config, TableWriter table,
              LayerWeights& weights) {
  const std::int64_t width = config.num_hiddens;
  const std::int64_t inner = config.ffn_num_hiddens;
  AddAttention(
      D2lMultiHeadAttentionConfig{
          .num_hiddens = width,
          .num_heads = config.num_heads,
          .bias = config.use_bias,
      },
      table.Inside("attention"), weights.attention);
  TableWriter ffn = table.Inside("ffn");
  ffn.AddLinear("dense1", {inner, width}, /*bias=*/true, weights.linear1);
  ffn.AddLinear("dense2", {width, inner}, /*bias=*/true, weights.linear2);
  table.Inside("addnorm1").AddNorm("ln", width, /*bias=*/true, weights.norm1);
  table.Inside("addnorm2").AddNorm("ln", width, /*bias=*/true, weights.norm2);
}

LayerWeights& OnlyLayer(ModuleWeights& weights) {
  weights.layers.resize(1);
  return weights.layers.front();
}

void AddModel(const MultiHeadAttentionConfig& config, TableWriter table,
              ModuleWeights& weights) {
  AddAttention(config, table, OnlyLayer(weights).attention);
}

void AddModel(const D2lMultiHeadAttentionConfig& config, TableWriter table,
              ModuleWeights& weights) {
  AddAttention(config, table, OnlyLayer(weights).attention);
}

void AddModel(const ScaledDotProductAttentionConfig& /*config*/,
              const TableWriter& /*table*/, ModuleWeights& weights) {
  OnlyLayer(weights);
}

void AddModel(const D2lDotProductAttentionConfig& /*config*/,
              const TableWriter& /*table*/, ModuleWeights& weights) {
  OnlyLayer(weights);
}

void AddModel(const TransformerEncoderLayerConfig& config, TableWriter table,
              ModuleWeights& weights) {
  AddLayer(config, std::move(table), OnlyLayer(weights));
}

void AddModel(const D2lTransformerEncoderBlockConfig& config, TableWriter table,
              ModuleWeights& weights) {
  AddLayer(config, std::move(table), OnlyLayer(weights));
}

void AddFinalNorm(const TransformerEncoderLayerConfig& layer,
                  TableWriter& table, NormWeights& weights) {
  table.AddNorm("norm", layer.d_model, layer.bias, weights);
}

void AddFinalNorm(const D2lTransformerEncoderBlockConfig& layer,
                  TableWriter& table, NormWeights& weights) {
  table.AddNorm("norm", layer.num_hiddens, /*bias=*/true, weights);
}

void AddModel(const TransformerEncoderConfig& config, TableWriter table,
              ModuleWeights& weights) {
  // All at once: the table points into them.
  weights.layers.resize(static_cast<std::size_t>(config.num_layers));
  std::visit(
      [&](const auto& layer) {
        const TableWriter layers = table.Inside("layers");
        for (std::size_t i = 0; i < weights.layers.size(); ++i) {
          AddLayer(layer, layers.Inside(std::to_string(i)), weights.layers[i]);
        }
        if (config.norm) {
          AddFinalNorm(layer, table, Ensure(weights.final_norm));
        }
      },
      config.layer);
}

template <typename Kind>
std::optional<DataType> DtypeOf(const Kind& kind) {
  if constexpr (requires { kind.dtype; }) {
    return kind.dtype;
  } else {
    return std::nullopt;  // it has no weights
  }
}
std::optional<DataType> DtypeOf(const TransformerEncoderConfig& config) {
  return std::visit([](const auto& layer) { return layer.dtype; },
                    config.layer);
}

}  // namespace

std::vector<WeightTableRow> MakeWeightTable(const ModuleConfig& config,
                                            ModuleWeights& weights) {
  std::vector<WeightTableRow> table;
  std::visit(
      [&](const auto& kind) {
        AddModel(kind, TableWriter(table, ""), weights);
      },
      config);
  return table;
}

std::optional<DataType> WantedDtype(const ModuleConfig& config) {
  return std::visit([](const auto& kind) { return DtypeOf(kind); }, config);
}

}  // namespace attention
