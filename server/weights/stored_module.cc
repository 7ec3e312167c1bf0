// SPDX-License-Identifier: Apache-2.0
#include "server/weights/stored_module.h"

#include <new>
#include <utility>

#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_macros.h"
#include "server/weights/weights_digest.h"

namespace attention {
namespace {

absl::Status UnsupportedDtype(std::string_view name, std::string_view dtype) {
  return absl::InvalidArgumentError(
      FormatText("tensor {} has dtype {}, expected F32, F64, F16 or BF16; if "
                 "it is not the module's, name it in weight_names.ignored",
                 Quote(name), dtype));
}

/// Refuse the tensors of a foreign dtype inside the prefix, where all are the
/// module's, unless they are ignored.
absl::Status CheckUnsupported(const SafetensorsView& file,
                              const WeightSource& source) {
  const std::string& prefix = source.prefix;
  for (auto tensor = file.unsupported().lower_bound(prefix);
       tensor != file.unsupported().end() && tensor->first.starts_with(prefix);
       ++tensor) {
    if (source.Ignores(tensor->first)) continue;
    return UnsupportedDtype(tensor->first, tensor->second);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SelectedWeights> SelectModule(const SafetensorsView& file,
                                             const ModuleConfig& config,
                                             const WeightSource& source) {
  ATTENTION_RETURN_IF_ERROR(CheckUnsupported(file, source));
  return SelectWeights(config, file.tensors(), source, file.unsupported());
}

absl::StatusOr<StoredModule> ReadModule(const SafetensorsView& file,
                                        const ModuleConfig& config,
                                        const WeightSource& source) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  try {
    ATTENTION_ASSIGN_OR_RETURN(const SelectedWeights selected,
                               SelectModule(file, config, source));
    ATTENTION_ASSIGN_OR_RETURN(ModuleWeights weights,
                               CollectWeights(config, selected.tensors));
    std::string digest = WeightsDigest(config, weights);
    return StoredModule{config, std::move(weights), std::move(digest)};
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the module's weights");
  }
}

}  // namespace attention
