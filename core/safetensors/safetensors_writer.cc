// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_writer.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/safetensors/safetensors_header.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

using NamedTensor = NamedTensors::value_type;

std::vector<const NamedTensor*> InFileOrder(const NamedTensors& tensors) {
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const NamedTensor& tensor : tensors) order.push_back(&tensor);
  std::ranges::stable_sort(order, std::greater<>(),
                           [](const NamedTensor* tensor) {
                             return DataTypeSize(tensor->second.dtype);
                           });
  return order;
}

/// Write a JSON string. What is not UTF-8 is replaced, which the check of the
/// finished header notices.
std::string JsonString(std::string_view text) {
  return nlohmann::json(text).dump(
      /*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
      nlohmann::json::error_handler_t::replace);
}

std::string MetadataJson(const SafetensorsMetadata& metadata) {
  std::string json = "{";
  for (const auto& [key, value] : metadata) {
    json += FormatText("{}{}:{}", json.size() == 1 ? "" : ",", JsonString(key),
                       JsonString(value));
  }
  return json + "}";
}

std::string EntryJson(const TensorView& tensor, std::size_t begin) {
  std::string dims;
  for (const std::int64_t dim : tensor.shape.dims()) {
    dims += FormatText("{}{}", dims.empty() ? "" : ",", dim);
  }
  return FormatText(R"({{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                    SafetensorsDtypeName(tensor.dtype), dims, begin,
                    begin + tensor.num_bytes());
}

/// Check that the reader reads from the header what went into it: its limits
/// are kept, and no name or value was replaced or taken for another.
absl::Status CheckHeader(std::string_view json, const NamedTensors& tensors,
                         const SafetensorsMetadata& metadata) {
  if (json.size() > SafetensorsView::kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        FormatText("safetensors header: {} bytes, expected at most {}",
                   json.size(), SafetensorsView::kMaxHeaderBytes));
  }
  ATTENTION_ASSIGN_OR_RETURN(const SafetensorsHeader header,
                             ParseSafetensorsHeader(json));
  const bool same_names = std::ranges::equal(
      header.entries, tensors, {},
      [](const auto& entry) -> const std::string& { return entry.first; },
      &NamedTensor::first);
  if (same_names && header.metadata == metadata) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "safetensors header: a name or metadata value is not valid UTF-8");
}

std::string FramedHeader(std::string json) {
  constexpr std::size_t kAlignment = 8;
  json.resize((json.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  std::string header;
  for (std::size_t i = 0; i < sizeof(std::uint64_t); ++i) {
    header += static_cast<char>(json.size() >> (8 * i) & 0xFF);
  }
  return header + json;
}

}  // namespace

std::size_t SerializedSafetensors::num_bytes() const {
  std::size_t total = header.size();
  for (const std::span<const std::byte> piece : data) total += piece.size();
  return total;
}

std::string SerializedSafetensors::ToString() const {
  std::string file;
  file.reserve(num_bytes());
  file += header;
  for (const std::span<const std::byte> piece : data) {
    file.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return file;
}

absl::StatusOr<SerializedSafetensors> SerializeSafetensors(
    const NamedTensors& tensors, const SafetensorsMetadata& metadata) {
  SerializedSafetensors file;
  std::string json = "{";
  if (!metadata.empty()) {
    json += FormatText("\"{}\":{}", kSafetensorsMetadataKey,
                       MetadataJson(metadata));
  }
  std::size_t offset = 0;
  for (const NamedTensor* tensor : InFileOrder(tensors)) {
    const auto& [name, view] = *tensor;
    json += FormatText("{}{}:{}", json.size() == 1 ? "" : ",", JsonString(name),
                       EntryJson(view, offset));
    file.data.emplace_back(view.data, view.num_bytes());
    offset += view.num_bytes();
  }
  json += '}';
  ATTENTION_RETURN_IF_ERROR(CheckHeader(json, tensors, metadata));
  file.header = FramedHeader(std::move(json));
  return file;
}

}  // namespace attention
