// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/attention_client.h"
#include "core/attention/request.h"
#include "core/tensor/tensor.h"

namespace CLI {
class App;
}  // namespace CLI

namespace attention {

/// The options that say what a forward pass is to compute.
struct ForwardOptions {
  /// Locations of tensors, as ReadTensorFile takes them; empty: absent.
  std::string query, key, value, attn_mask, key_padding_mask, valid_lens;
  std::string inputs;  ///< a safetensors file that holds them by these names
  std::vector<std::int64_t> random;     ///< N, L, E or L, E
  std::uint64_t seed = 0;               ///< of --random
  DataType dtype = DataType::kFloat32;  ///< of --random
  std::vector<std::int64_t> query_lengths;
  std::vector<std::int64_t> key_lengths;
  Causal causal = Causal::kNone;
  bool is_causal = false;
  bool need_weights = false;
  bool per_head = false;
  MaskedRowPolicy masked_row_policy = MaskedRowPolicy::kTorch;
  bool training = false;
  std::uint64_t dropout_seed = 0;
};

/// Declare the options on a subcommand.
void AddForwardOptions(CLI::App& command, ForwardOptions& options);

/// The tensors of a request. Move-only.
struct InputTensors {
  Tensor query;
  std::optional<Tensor> key, value, attn_mask, key_padding_mask, valid_lens;
};

/// Read the tensors from their files, or make random ones that fit the module,
/// whose configuration is then asked from the server: sequence or batch first;
/// key and value of their own when their widths differ from E.
/// \return what the files or the server say is wrong.
[[nodiscard]] absl::StatusOr<InputTensors> LoadInputs(
    const ForwardOptions& options, std::string_view module,
    const AttentionClient& client);

/// Put tensors and flags together. Lifetime: the inputs borrow from `tensors`.
[[nodiscard]] AttentionInputs MakeInputs(const ForwardOptions& options,
                                         const InputTensors& tensors);

}  // namespace attention
