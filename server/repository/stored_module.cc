// SPDX-License-Identifier: Apache-2.0
#include "server/repository/stored_module.h"

#include <format>
#include <new>
#include <utility>
#include <variant>

#include "core/module/quote.h"
#include "core/tensor/status_macros.h"
#include "server/repository/weights_digest.h"

namespace attention {
namespace {

absl::Status UnsupportedDtype(std::string_view name, std::string_view dtype) {
  return absl::InvalidArgumentError(
      std::format("tensor {} has dtype {}, expected F32, F64, F16 or BF16",
                  Quote(name), dtype));
}

/// Refuse the tensors of a foreign dtype that the module needs or, without a
/// prefix, may not have.
absl::Status CheckUnsupported(const SafetensorsView& file,
                              const MultiHeadAttentionConfig& config,
                              std::string_view prefix) {
  const SafetensorsMetadata& unsupported = file.unsupported();
  if (prefix.empty() && !unsupported.empty()) {
    const auto& [name, dtype] = *unsupported.begin();
    return UnsupportedDtype(name, dtype);
  }
  for (const WeightSpec& spec : ExpectedWeights(config)) {
    const std::string name = std::string(prefix).append(spec.name);
    if (const auto found = unsupported.find(name); found != unsupported.end()) {
      return UnsupportedDtype(name, found->second);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoredModule> ReadModule(const SafetensorsView& file,
                                        const ModuleConfig& config,
                                        std::string_view prefix) {
  const auto& attention = std::get<MultiHeadAttentionConfig>(config);
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(attention));
  ATTENTION_RETURN_IF_ERROR(CheckUnsupported(file, attention, prefix));
  try {
    ATTENTION_ASSIGN_OR_RETURN(
        AttentionWeights weights,
        CollectWeights(attention, file.tensors(), prefix));
    std::string digest = WeightsDigest(config, weights);
    return StoredModule{config, std::move(weights), std::move(digest)};
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the module's weights");
  }
}

absl::StatusOr<NamedTensors> SelectModuleTensors(const ModuleConfig& config,
                                                 const NamedTensors& tensors,
                                                 std::string_view prefix) {
  const auto& attention = std::get<MultiHeadAttentionConfig>(config);
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(attention));
  NamedTensors selected;
  for (const WeightSpec& spec : ExpectedWeights(attention)) {
    const std::string name = std::string(prefix).append(spec.name);
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      return absl::InvalidArgumentError(
          std::format("tensor {} of shape {} is missing", Quote(name),
                      spec.shape.ToString()));
    }
    selected.emplace(spec.name, found->second);
  }
  return selected;
}

}  // namespace attention
