// SPDX-License-Identifier: Apache-2.0
#include "core/attention/config.h"

#include <cmath>
#include <limits>
#include <string_view>

#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

absl::Status CheckRange(std::string_view name, std::int64_t value,
                        std::int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      FormatText("{}: expected 1 to {}, got {}", name, max, value));
}

absl::Status CheckWidth(std::string_view name, std::int64_t width) {
  return CheckRange(name, width, kMaxWidth);
}

struct NamedValue {
  std::string_view name;
  std::int64_t value;
};

// `divisor`, which is at least 1, divides `number`.
absl::Status CheckDivides(const NamedValue& divisor, const NamedValue& number) {
  if (divisor.value < 1) {
    return absl::InvalidArgumentError(FormatText(
        "{}: expected at least 1, got {}", divisor.name, divisor.value));
  }
  if (number.value % divisor.value != 0) {
    return absl::InvalidArgumentError(FormatText(
        "{} must be divisible by {}, got {}={} and {}={}", number.name,
        divisor.name, number.name, number.value, divisor.name, divisor.value));
  }
  return absl::OkStatus();
}

absl::Status CheckDropout(double dropout) {
  // Written so that NaN fails.
  if (dropout >= 0.0 && dropout <= 1.0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      FormatText("dropout: expected a probability in [0, 1], got {}", dropout));
}

absl::Status CheckDtype(const std::optional<DataType>& dtype) {
  if (!dtype || IsFloating(*dtype)) return absl::OkStatus();
  return absl::InvalidArgumentError(FormatText(
      "dtype: expected a floating dtype, got {}", DataTypeName(*dtype)));
}

absl::Status CheckComputeDtype(DataType compute_dtype) {
  if (compute_dtype == DataType::kFloat32 ||
      compute_dtype == DataType::kBFloat16) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      FormatText("compute_dtype: expected float32 or bfloat16, got {}",
                 DataTypeName(compute_dtype)));
}

// The dtypes of a kind with parameters.
template <typename Config>
absl::Status CheckDtypes(const Config& config) {
  ATTENTION_RETURN_IF_ERROR(CheckDtype(config.dtype));
  ATTENTION_RETURN_IF_ERROR(CheckComputeDtype(config.compute_dtype));
  if (!config.dtype) return absl::OkStatus();
  return CheckComputable(config.compute_dtype, *config.dtype);
}

template <typename Config>
auto& ComputeDtypeOf(Config& config) {
  if constexpr (requires { config.layer; }) {
    return std::visit([](auto& layer) -> auto& { return layer.compute_dtype; },
                      config.layer);
  } else {
    return config.compute_dtype;
  }
}

// Computed in float32, where denormals count as 0.
absl::Status CheckEpsilon(std::string_view name, double epsilon) {
  constexpr double kMin = std::numeric_limits<float>::min();
  constexpr double kMax = std::numeric_limits<float>::max();
  if (epsilon == 0.0 || (epsilon >= kMin && epsilon <= kMax)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      FormatText("{}: expected 0 or a number from {:.3g} to {:.3g}, got {}",
                 name, kMin, kMax, epsilon));
}

absl::Status Check(const MultiHeadAttentionConfig& config) {
  ATTENTION_RETURN_IF_ERROR(CheckWidth("embed_dim", config.embed_dim));
  ATTENTION_RETURN_IF_ERROR(CheckWidth("kdim", config.key_dim()));
  ATTENTION_RETURN_IF_ERROR(CheckWidth("vdim", config.value_dim()));
  const std::int64_t query_dim = config.query_dim.value_or(config.embed_dim);
  ATTENTION_RETURN_IF_ERROR(CheckWidth("query_dim", query_dim));
  if (query_dim != config.embed_dim && !config.separate_projections) {
    return absl::InvalidArgumentError(FormatText(
        "query_dim: expected embed_dim={} without separate_projections, got {}",
        config.embed_dim, query_dim));
  }
  ATTENTION_RETURN_IF_ERROR(CheckDivides({"num_heads", config.num_heads},
                                         {"embed_dim", config.embed_dim}));
  ATTENTION_RETURN_IF_ERROR(CheckDropout(config.dropout));
  return CheckDtypes(config);
}

absl::Status Check(const D2lMultiHeadAttentionConfig& config) {
  const std::int64_t num_hiddens = config.num_hiddens;
  ATTENTION_RETURN_IF_ERROR(CheckWidth("num_hiddens", num_hiddens));
  ATTENTION_RETURN_IF_ERROR(
      CheckWidth("query_size", config.query_size.value_or(num_hiddens)));
  ATTENTION_RETURN_IF_ERROR(
      CheckWidth("key_size", config.key_size.value_or(num_hiddens)));
  ATTENTION_RETURN_IF_ERROR(
      CheckWidth("value_size", config.value_size.value_or(num_hiddens)));
  ATTENTION_RETURN_IF_ERROR(CheckDivides({"num_heads", config.num_heads},
                                         {"num_hiddens", num_hiddens}));
  ATTENTION_RETURN_IF_ERROR(CheckDropout(config.dropout));
  return CheckDtypes(config);
}

absl::Status Check(const ScaledDotProductAttentionConfig& config) {
  const std::int64_t value_head_dim =
      config.value_head_dim.value_or(config.head_dim);
  ATTENTION_RETURN_IF_ERROR(CheckWidth("num_heads", config.num_heads));
  ATTENTION_RETURN_IF_ERROR(CheckWidth("head_dim", config.head_dim));
  ATTENTION_RETURN_IF_ERROR(CheckWidth("value_head_dim", value_head_dim));
  ATTENTION_RETURN_IF_ERROR(
      CheckWidth("num_heads * head_dim", config.num_heads * config.head_dim));
  ATTENTION_RETURN_IF_ERROR(CheckWidth("num_heads * value_head_dim",
                                       config.num_heads * value_head_dim));
  ATTENTION_RETURN_IF_ERROR(
      CheckDivides({"num_key_value_heads",
                    config.num_key_value_heads.value_or(config.num_heads)},
                   {"num_heads", config.num_heads}));
  // Written so that NaN fails.
  constexpr double kMaxScale = std::numeric_limits<float>::max();
  if (config.scale && !(std::abs(*config.scale) <= kMaxScale)) {
    return absl::InvalidArgumentError(
        FormatText("scale: expected a number of magnitude up to {:.3g}, got "
                   "{}",
                   kMaxScale, *config.scale));
  }
  ATTENTION_RETURN_IF_ERROR(CheckComputeDtype(config.compute_dtype));
  return CheckDropout(config.dropout);
}

absl::Status Check(const D2lDotProductAttentionConfig& config) {
  ATTENTION_RETURN_IF_ERROR(CheckWidth("query_size", config.query_size));
  ATTENTION_RETURN_IF_ERROR(
      CheckWidth("value_size", config.value_size.value_or(config.query_size)));
  ATTENTION_RETURN_IF_ERROR(CheckComputeDtype(config.compute_dtype));
  return CheckDropout(config.dropout);
}

absl::Status Check(const TransformerEncoderLayerConfig& config) {
  ATTENTION_RETURN_IF_ERROR(CheckWidth("d_model", config.d_model));
  ATTENTION_RETURN_IF_ERROR(
      CheckDivides({"nhead", config.nhead}, {"d_model", config.d_model}));
  ATTENTION_RETURN_IF_ERROR(CheckRange(
      "dim_feedforward", config.dim_feedforward, kMaxFeedForwardWidth));
  ATTENTION_RETURN_IF_ERROR(
      CheckEpsilon("layer_norm_eps", config.layer_norm_eps));
  ATTENTION_RETURN_IF_ERROR(CheckDropout(config.dropout));
  return CheckDtypes(config);
}

absl::Status Check(const D2lTransformerEncoderBlockConfig& config) {
  ATTENTION_RETURN_IF_ERROR(CheckWidth("num_hiddens", config.num_hiddens));
  ATTENTION_RETURN_IF_ERROR(CheckDivides({"num_heads", config.num_heads},
                                         {"num_hiddens", config.num_hiddens}));
  ATTENTION_RETURN_IF_ERROR(CheckRange(
      "ffn_num_hiddens", config.ffn_num_hiddens, kMaxFeedForwardWidth));
  ATTENTION_RETURN_IF_ERROR(CheckDropout(config.dropout));
  return CheckDtypes(config);
}

absl::Status Check(const TransformerEncoderConfig& config) {
  ATTENTION_RETURN_IF_ERROR(
      CheckRange("num_layers", config.num_layers, kMaxLayers));
  ATTENTION_RETURN_IF_ERROR(CheckEpsilon("norm_eps", config.norm_eps));
  return std::visit([](const auto& layer) { return Check(layer); },
                    config.layer);
}

}  // namespace

DataType ComputeDtype(const ModuleConfig& config) {
  return std::visit([](const auto& kind) { return ComputeDtypeOf(kind); },
                    config);
}

void SetComputeDtype(DataType compute_dtype, ModuleConfig& config) {
  std::visit([&](auto& kind) { ComputeDtypeOf(kind) = compute_dtype; }, config);
}

absl::Status CheckComputable(DataType compute_dtype, DataType weights_dtype) {
  if (compute_dtype == DataType::kFloat32 ||
      weights_dtype != DataType::kFloat64) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      FormatText("compute_dtype: expected float32 with float64 weights, got "
                 "{}",
                 DataTypeName(compute_dtype)));
}

absl::Status ValidateConfig(const ModuleConfig& config) {
  return std::visit([](const auto& kind) { return Check(kind); }, config);
}

}  // namespace attention
