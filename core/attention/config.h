// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"
#include "core/tensor/data_type.h"

namespace attention {

/// Largest width of a row, such as embed_dim.
inline constexpr std::int64_t kMaxWidth = 65536;
/// Largest width inside a feed-forward network.
inline constexpr std::int64_t kMaxFeedForwardWidth = 262144;
/// Largest number of layers in a stack.
inline constexpr std::int64_t kMaxLayers = 1024;

/// Constructor parameters of torch.nn.MultiheadAttention, and three more.
/// Source: https://pytorch.org/docs/2.6/generated/torch.nn.MultiheadAttention
struct MultiHeadAttentionConfig {
  std::int64_t embed_dim = 0;  ///< E, in [1, kMaxWidth]
  std::int64_t num_heads = 0;  ///< H, divides embed_dim
  double dropout = 0.0;        ///< in [0, 1]; used in training only
  bool bias = true;            ///< in_proj_bias and out_proj.bias
  bool add_bias_kv = false;    ///< append bias_k, bias_v to key, value
  bool add_zero_attn = false;  ///< append a row of zeros to key, value
  std::optional<std::int64_t> kdim = {};  ///< width of key; default embed_dim
  std::optional<std::int64_t> vdim = {};  ///< width of value; default embed_dim
  bool batch_first = false;               ///< (N, L, E) instead of (L, N, E)
  /// dtype of the parameters; default: as stored.
  std::optional<DataType> dtype = {};
  /// Width of query; default embed_dim. Others need separate_projections.
  std::optional<std::int64_t> query_dim = {};
  bool output_projection = true;  ///< else the heads' context is the output
  /// Whether the projections of query, key and value have names of their own.
  bool separate_projections = false;
  DataType compute_dtype = DataType::kFloat32;  ///< see ComputeDtype

  [[nodiscard]] std::int64_t key_dim() const {
    return kdim.value_or(embed_dim);
  }
  [[nodiscard]] std::int64_t value_dim() const {
    return vdim.value_or(embed_dim);
  }
  [[nodiscard]] std::int64_t head_dim() const { return embed_dim / num_heads; }

  friend bool operator==(const MultiHeadAttentionConfig&,
                         const MultiHeadAttentionConfig&) = default;
};

/// Parameters of d2l.MultiHeadAttention.
/// Source: Dive into Deep Learning, section 11.5, d2l/torch.py.
struct D2lMultiHeadAttentionConfig {
  std::int64_t num_hiddens = 0;  ///< E, in [1, kMaxWidth]
  std::int64_t num_heads = 0;    ///< H, divides num_hiddens
  double dropout = 0.0;          ///< in [0, 1]; used in training only
  bool bias = false;
  std::optional<std::int64_t> query_size = {};  ///< default num_hiddens
  std::optional<std::int64_t> key_size = {};    ///< default num_hiddens
  std::optional<std::int64_t> value_size = {};  ///< default num_hiddens
  std::optional<DataType> dtype = {};           ///< default: as stored
  DataType compute_dtype = DataType::kFloat32;  ///< see ComputeDtype

  friend bool operator==(const D2lMultiHeadAttentionConfig&,
                         const D2lMultiHeadAttentionConfig&) = default;
};

/// torch.nn.functional.scaled_dot_product_attention with grouped key and value
/// heads; has no weights.
/// Source:
/// https://pytorch.org/docs/2.6/generated/torch.nn.functional.scaled_dot_product_attention
struct ScaledDotProductAttentionConfig {
  std::int64_t num_heads = 0;  ///< H; H * head size in [1, kMaxWidth]
  /// Divides num_heads; default num_heads.
  std::optional<std::int64_t> num_key_value_heads = {};
  std::int64_t head_dim = 0;                        ///< D, of query and key
  std::optional<std::int64_t> value_head_dim = {};  ///< default head_dim
  /// A float32's magnitude at most; default 1 / sqrt(head_dim).
  std::optional<double> scale = {};
  double dropout = 0.0;  ///< in [0, 1]; used in training only
  DataType compute_dtype = DataType::kFloat32;  ///< see ComputeDtype

  friend bool operator==(const ScaledDotProductAttentionConfig&,
                         const ScaledDotProductAttentionConfig&) = default;
};

/// Parameters of d2l.DotProductAttention, which has no weights and does not say
/// how wide its inputs are.
/// Source: Dive into Deep Learning, section 11.3, d2l/torch.py.
struct D2lDotProductAttentionConfig {
  std::int64_t query_size = 0;  ///< d, of query and key, in [1, kMaxWidth]
  std::optional<std::int64_t> value_size = {};  ///< default query_size
  double dropout = 0.0;  ///< in [0, 1]; used in training only
  DataType compute_dtype = DataType::kFloat32;  ///< see ComputeDtype

  friend bool operator==(const D2lDotProductAttentionConfig&,
                         const D2lDotProductAttentionConfig&) = default;
};

/// What is between the two linear layers of a feed-forward network.
enum class Activation : std::uint8_t {
  kRelu,
  kGelu,  ///< x Phi(x), by the error function
};

/// Constructor parameters of torch.nn.TransformerEncoderLayer.
/// Source:
/// https://pytorch.org/docs/2.6/generated/torch.nn.TransformerEncoderLayer
struct TransformerEncoderLayerConfig {
  std::int64_t d_model = 0;             ///< E, in [1, kMaxWidth]
  std::int64_t nhead = 0;               ///< H, divides d_model
  std::int64_t dim_feedforward = 2048;  ///< in [1, kMaxFeedForwardWidth]
  double dropout = 0.0;                 ///< in [0, 1]; used in training only
  Activation activation = Activation::kRelu;
  double layer_norm_eps = 1e-5;  ///< 0 or a normal float32
  bool batch_first = false;      ///< (N, L, E) instead of (L, N, E)
  bool norm_first = false;
  bool bias = true;
  std::optional<DataType> dtype = {};  ///< default: as stored
  bool separate_projections = false;   ///< see MultiHeadAttentionConfig
  DataType compute_dtype = DataType::kFloat32;  ///< see ComputeDtype

  friend bool operator==(const TransformerEncoderLayerConfig&,
                         const TransformerEncoderLayerConfig&) = default;
};

/// Parameters of d2l.TransformerEncoderBlock.
/// Source: Dive into Deep Learning, section 11.7, d2l/torch.py.
struct D2lTransformerEncoderBlockConfig {
  std::int64_t num_hiddens = 0;        ///< E, in [1, kMaxWidth]
  std::int64_t ffn_num_hiddens = 0;    ///< in [1, kMaxFeedForwardWidth]
  std::int64_t num_heads = 0;          ///< H, divides num_hiddens
  double dropout = 0.0;                ///< in [0, 1]; used in training only
  bool use_bias = false;               ///< of the attention
  std::optional<DataType> dtype = {};  ///< default: as stored
  DataType compute_dtype = DataType::kFloat32;  ///< see ComputeDtype

  friend bool operator==(const D2lTransformerEncoderBlockConfig&,
                         const D2lTransformerEncoderBlockConfig&) = default;
};

/// torch.nn.TransformerEncoder: a stack of layers of one config.
struct TransformerEncoderConfig {
  std::variant<TransformerEncoderLayerConfig, D2lTransformerEncoderBlockConfig>
      layer;
  std::int64_t num_layers = 0;  ///< in [1, kMaxLayers]
  bool norm = false;            ///< a layer normalisation behind the last layer
  double norm_eps = 1e-5;       ///< its epsilon; 0 or a normal float32

  friend bool operator==(const TransformerEncoderConfig&,
                         const TransformerEncoderConfig&) = default;
};

/// Configuration of any kind of module.
using ModuleConfig =
    std::variant<MultiHeadAttentionConfig, D2lMultiHeadAttentionConfig,
                 ScaledDotProductAttentionConfig, TransformerEncoderLayerConfig,
                 D2lTransformerEncoderBlockConfig, TransformerEncoderConfig,
                 D2lDotProductAttentionConfig>;

/// What a module is asked to compute float32, float16 and bfloat16 queries in,
/// whatever the dtype of its weights: a stack's layer says it for the stack.
///
/// kFloat32, or kBFloat16: both operands of every matrix product, weights among
/// them, are rounded to bfloat16; sums, softmax, norms and what is added stay
/// in float32. kBFloat16 is not for float64 weights, which are computed with in
/// double.
[[nodiscard]] DataType ComputeDtype(const ModuleConfig& config);
/// Ask for it; not validated.
void SetComputeDtype(DataType compute_dtype, ModuleConfig& config);

/// Check that weights of this dtype can be computed with as asked.
/// \return INVALID_ARGUMENT for kBFloat16 with float64 weights.
[[nodiscard]] absl::Status CheckComputable(DataType compute_dtype,
                                           DataType weights_dtype);

/// Check the constraints named beside the fields.
/// \return INVALID_ARGUMENT naming field, value and expectation.
[[nodiscard]] absl::Status ValidateConfig(const ModuleConfig& config);

}  // namespace attention
