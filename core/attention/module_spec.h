// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/attention/config.h"

namespace attention {

/// What a request's is_causal says.
enum class IsCausal : std::uint8_t {
  kHint,     ///< torch's hint about attn_mask; see RequestPlan
  kMask,     ///< a top-left mask, the only one beside padding
  kRefused,  ///< the kind has none
};

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
  /// What queries other than float64 are to be computed in, here and in all of
  /// an encoder: kFloat32 or kBFloat16. See ComputeDtype.
  DataType compute_dtype = DataType::kFloat32;

  IsCausal is_causal = IsCausal::kHint;
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
  /// Width of the context's own memory; 0: it lies over the queries it is of.
  [[nodiscard]] std::int64_t own_context_width() const {
    return head_dim == value_head_dim ? 0 : output_width();
  }
};

/// What makes an encoder layer of attention, with E its width:
///
///   post-norm  x = norm1(x + SA(x));   x = norm2(x + FF(x))
///   pre-norm   x = x + SA(norm1(x));   x = x + FF(norm2(x))
///
/// FF(x) = act(x W1^T + b1) W2^T + b2. In training, dropout is applied to the
/// attention weights, SA(x), FF(x) and, by torch but not by d2l, act(...).
/// Source: torch/nn/modules/transformer.py (2.6), TransformerEncoderLayer;
/// d2l/torch.py, TransformerEncoderBlock.
struct EncoderSpec {
  std::int64_t feed_forward_dim = 0;
  Activation activation = Activation::kRelu;
  double norm_eps = 0.0;
  bool norm_first = false;
  bool drops_activation = false;  ///< whether dropout is applied to act(...)
};

/// What computing a module of any kind needs to know: attention alone, or
/// num_layers encoder layers, one after the other.
struct ModuleSpec {
  AttentionSpec attention;
  std::optional<EncoderSpec> encoder;
  std::int64_t num_layers = 1;
  std::optional<double> final_norm_eps;  ///< of a norm behind the last layer
};

/// Say what a module of a valid config computes.
[[nodiscard]] ModuleSpec SpecOf(const ModuleConfig& config);

}  // namespace attention
