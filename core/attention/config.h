// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"
#include "core/tensor/data_type.h"

namespace attention {

/// Constructor parameters of torch.nn.MultiheadAttention.
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

  /// Largest embed_dim, kdim and vdim.
  static constexpr std::int64_t kMaxWidth = 65536;

  [[nodiscard]] std::int64_t key_dim() const {
    return kdim.value_or(embed_dim);
  }
  [[nodiscard]] std::int64_t value_dim() const {
    return vdim.value_or(embed_dim);
  }
  [[nodiscard]] std::int64_t head_dim() const { return embed_dim / num_heads; }
  /// Whether in_proj_weight holds all three projections.
  [[nodiscard]] bool packed_in_proj() const {
    return key_dim() == embed_dim && value_dim() == embed_dim;
  }
  /// Columns appended behind the S keys: S' = S + appended_keys().
  [[nodiscard]] std::int64_t appended_keys() const {
    return (add_bias_kv ? 1 : 0) + (add_zero_attn ? 1 : 0);
  }

  friend bool operator==(const MultiHeadAttentionConfig&,
                         const MultiHeadAttentionConfig&) = default;
};

/// Configuration of any kind of module.
using ModuleConfig = std::variant<MultiHeadAttentionConfig>;

/// Check the constraints named beside the fields.
/// \return INVALID_ARGUMENT naming field, value and expectation.
[[nodiscard]] absl::Status ValidateConfig(
    const MultiHeadAttentionConfig& config);

}  // namespace attention
