// SPDX-License-Identifier: Apache-2.0
#include "core/attention/config.h"

#include <format>
#include <string_view>

namespace attention {
namespace {

absl::Status CheckWidth(std::string_view name, std::int64_t width) {
  if (width >= 1 && width <= MultiHeadAttentionConfig::kMaxWidth) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      std::format("{}: expected 1 to {}, got {}", name,
                  MultiHeadAttentionConfig::kMaxWidth, width));
}

}  // namespace

absl::Status ValidateConfig(const MultiHeadAttentionConfig& config) {
  for (const absl::Status& status : {CheckWidth("embed_dim", config.embed_dim),
                                     CheckWidth("kdim", config.key_dim()),
                                     CheckWidth("vdim", config.value_dim())}) {
    if (!status.ok()) return status;
  }
  if (config.num_heads < 1) {
    return absl::InvalidArgumentError(std::format(
        "num_heads: expected at least 1, got {}", config.num_heads));
  }
  if (config.embed_dim % config.num_heads != 0) {
    return absl::InvalidArgumentError(std::format(
        "embed_dim must be divisible by num_heads, got embed_dim={} and "
        "num_heads={}",
        config.embed_dim, config.num_heads));
  }
  // Written so that NaN fails.
  if (!(config.dropout >= 0.0 && config.dropout <= 1.0)) {
    return absl::InvalidArgumentError(std::format(
        "dropout: expected a probability in [0, 1], got {}", config.dropout));
  }
  if (config.dtype && !IsFloating(*config.dtype)) {
    return absl::InvalidArgumentError(
        std::format("dtype: expected a floating dtype, got {}",
                    DataTypeName(*config.dtype)));
  }
  return absl::OkStatus();
}

}  // namespace attention
