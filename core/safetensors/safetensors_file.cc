// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_file.h"

#include <algorithm>
#include <span>
#include <string>

#include "core/safetensors/read_file.h"
#include "core/safetensors/safetensors_header.h"
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

absl::StatusOr<SafetensorsMetadata> SafetensorsFile::ReadMetadata(int file) {
  ATTENTION_ASSIGN_OR_RETURN(const std::size_t size, FileSize(file));
  std::string start(std::min(size, kSafetensorsStartBytes), '\0');
  ATTENTION_RETURN_IF_ERROR(
      ReadAt(file, 0, std::as_writable_bytes(std::span(start))));
  ATTENTION_ASSIGN_OR_RETURN(const std::size_t length,
                             SafetensorsHeaderLength(start, size));
  std::string json(length, '\0');
  ATTENTION_RETURN_IF_ERROR(ReadAt(file, kSafetensorsLengthBytes,
                                   std::as_writable_bytes(std::span(json))));
  ATTENTION_ASSIGN_OR_RETURN(SafetensorsHeader header,
                             ParseSafetensorsHeader(json));
  return std::move(header.metadata);
}

}  // namespace attention
