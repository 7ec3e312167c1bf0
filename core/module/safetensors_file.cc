// SPDX-License-Identifier: Apache-2.0
#include "core/module/safetensors_file.h"

#include <span>

#include "core/module/read_file.h"
#include "core/tensor/status_macros.h"

namespace attention {

absl::StatusOr<SafetensorsFile> SafetensorsFile::Read(int file,
                                                      std::size_t max_bytes) {
  ATTENTION_ASSIGN_OR_RETURN(AlignedBuffer bytes, ReadFile(file, max_bytes));
  ATTENTION_ASSIGN_OR_RETURN(
      SafetensorsView view,
      SafetensorsView::Parse(std::span(bytes.data(), bytes.size())));
  return SafetensorsFile(std::move(bytes), std::move(view));
}

}  // namespace attention
