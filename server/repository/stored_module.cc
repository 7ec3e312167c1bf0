// SPDX-License-Identifier: Apache-2.0
#include "server/repository/stored_module.h"

#include <format>
#include <new>
#include <utility>

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

/// Refuse the tensors of a foreign dtype inside the prefix, where all are the
/// module's.
absl::Status CheckUnsupported(const SafetensorsView& file,
                              std::string_view prefix) {
  const auto found = file.unsupported().lower_bound(prefix);
  if (found == file.unsupported().end() || !found->first.starts_with(prefix)) {
    return absl::OkStatus();
  }
  return UnsupportedDtype(found->first, found->second);
}

}  // namespace

absl::StatusOr<StoredModule> ReadModule(const SafetensorsView& file,
                                        const ModuleConfig& config,
                                        const WeightSource& source) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  try {
    ATTENTION_RETURN_IF_ERROR(CheckUnsupported(file, source.prefix));
    ATTENTION_ASSIGN_OR_RETURN(ModuleWeights weights,
                               CollectWeights(config, file.tensors(), source));
    std::string digest = WeightsDigest(config, weights);
    return StoredModule{config, std::move(weights), std::move(digest)};
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the module's weights");
  }
}

}  // namespace attention
