// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/attention/config.h"

namespace attention {

/// What computing attention needs to know, whatever kind of module it is of:
///
///   context_h = softmax(scale Q_h K_g^T + M) V_g,  g = h / (H / Hkv)
///
/// Q [L, H D], K [S, Hkv D] and V [S, Hkv Dv] are the inputs, projected or not;
/// the output [L, H Dv] is the context, projected or not.
struct AttentionSpec {
  std::int64_t query_dim = 0;  ///< widths of the inputs
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
  /// What the kind calls these widths, for error texts.
  std::array<std::string_view, 3> width_names = {"embed_dim", "kdim", "vdim"};

  std::int64_t num_heads = 0;            ///< H
  std::int64_t num_key_value_heads = 0;  ///< Hkv, divides H
  std::int64_t head_dim = 0;             ///< D
  std::int64_t value_head_dim = 0;       ///< Dv
  double scale = 1.0;

  /// Whether the inputs are projected. If not, they may also have their heads
  /// apart, (N, H, L, D).
  bool input_projections = true;
  bool output_projection = true;
  bool add_bias_kv = false;
  bool add_zero_attn = false;
  bool batch_first = false;
  double dropout = 0.0;

  /// valid_lens replaces scores by kReplacedScore instead of hiding keys.
  bool replaces_scores = false;
  /// Returned weights are those before dropout.
  bool weights_before_dropout = false;
  /// MaskedRowPolicy::kTorch is kNaN when weights are wanted, else kZero.
  bool masked_rows_are_nan_with_weights = true;

  static constexpr double kReplacedScore = -1e6;

  /// Columns appended behind the S keys: S' = S + appended_keys().
  [[nodiscard]] std::int64_t appended_keys() const {
    return (add_bias_kv ? 1 : 0) + (add_zero_attn ? 1 : 0);
  }
  [[nodiscard]] std::int64_t query_width() const {
    return num_heads * head_dim;
  }
  [[nodiscard]] std::int64_t key_width() const {
    return num_key_value_heads * head_dim;
  }
  [[nodiscard]] std::int64_t value_width() const {
    return num_key_value_heads * value_head_dim;
  }
  /// Width of the context, and of the output.
  [[nodiscard]] std::int64_t output_width() const {
    return num_heads * value_head_dim;
  }
};

/// What computing a module of any kind needs to know: attention.
struct ModuleSpec {
  AttentionSpec attention;
};

/// Say what a module of a valid config computes.
[[nodiscard]] ModuleSpec SpecOf(const ModuleConfig& config);

}  // namespace attention
