// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "core/safetensors/safetensors_header.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

/// The two parts behind the length.
struct FileParts {
  std::string_view header;
  std::span<const std::byte> data;
};

/// A tensor whose shape, dtype and place in the data agree.
struct CheckedEntry {
  const SafetensorsDtype* dtype;
  Shape shape;
};

absl::StatusOr<FileParts> SplitFile(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              file.size());
  ATTENTION_ASSIGN_OR_RETURN(
      const std::size_t length,
      SafetensorsHeaderLength(text.substr(0, kSafetensorsStartBytes),
                              file.size()));
  return FileParts{text.substr(kSafetensorsLengthBytes, length),
                   file.subspan(kSafetensorsLengthBytes + length)};
}

absl::Status EntryError(std::string_view name, std::string_view what) {
  return absl::InvalidArgumentError(
      FormatText("safetensors tensor {}: {}", Quote(name), what));
}

/// Check a tensor by itself: known dtype, valid shape, matching length.
absl::StatusOr<CheckedEntry> CheckEntry(std::string_view name,
                                        const SafetensorsEntry& entry) {
  const SafetensorsDtype* dtype = FindSafetensorsDtype(entry.dtype);
  if (dtype == nullptr) {
    return EntryError(name, FormatText("unknown dtype {}", Quote(entry.dtype)));
  }
  const absl::StatusOr<Shape> shape = Shape::Create(entry.dims);
  if (!shape.ok()) return EntryError(name, StatusText(shape.status()));
  // At most 2^56 elements of at most 2^6 bits: no overflow.
  const std::uint64_t bits =
      static_cast<std::uint64_t>(shape->num_elements()) * dtype->bits;
  if (bits % 8 != 0) {
    return EntryError(name, FormatText("{} bits are no whole bytes", bits));
  }
  if (entry.end < entry.begin || entry.end - entry.begin != bits / 8) {
    return EntryError(
        name, FormatText("data_offsets [{}, {}], expected {} bytes for {} {}",
                         entry.begin, entry.end, bits / 8, entry.dtype,
                         shape->ToString()));
  }
  return CheckedEntry{dtype, *shape};
}

/// Check that the tensors cover [0, data_bytes) without hole or overlap; each
/// has begin <= end.
absl::Status CheckLayout(const SafetensorsHeader& header,
                         std::size_t data_bytes) {
  using Named = decltype(header.entries)::value_type;
  std::vector<const Named*> order;
  order.reserve(header.entries.size());
  for (const Named& entry : header.entries) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const Named* entry) {
    return std::pair(entry->second.begin, entry->second.end);
  });
  std::uint64_t covered = 0;
  for (const Named* entry : order) {
    if (entry->second.begin != covered) {
      return EntryError(
          entry->first,
          FormatText("starts at byte {} of the data, expected {}: tensors may "
                     "neither overlap nor leave holes",
                     entry->second.begin, covered));
    }
    covered = entry->second.end;
  }
  if (covered != data_bytes) {
    return absl::InvalidArgumentError(FormatText(
        "safetensors file: {} bytes of data, expected {}{}", data_bytes,
        covered, data_bytes < covered ? ": it is cut off" : ""));
  }
  return absl::OkStatus();
}

absl::Status CheckBools(std::string_view name, const TensorView& tensor) {
  const std::span bytes(tensor.data, tensor.num_bytes());
  const bool valid = std::ranges::all_of(
      bytes, [](std::byte value) { return value <= std::byte{1}; });
  if (valid) return absl::OkStatus();
  return EntryError(name, "a bool element is neither 0 nor 1");
}

}  // namespace

absl::StatusOr<SafetensorsView> SafetensorsView::Parse(
    std::span<const std::byte> file) {
  ATTENTION_ASSIGN_OR_RETURN(const FileParts parts, SplitFile(file));
  ATTENTION_ASSIGN_OR_RETURN(SafetensorsHeader header,
                             ParseSafetensorsHeader(parts.header));
  std::vector<CheckedEntry> checked;
  checked.reserve(header.entries.size());
  for (const auto& [name, entry] : header.entries) {
    ATTENTION_ASSIGN_OR_RETURN(checked.emplace_back(), CheckEntry(name, entry));
  }
  ATTENTION_RETURN_IF_ERROR(CheckLayout(header, parts.data.size()));

  SafetensorsView view;
  view.metadata_ = std::move(header.metadata);
  auto next = checked.begin();
  for (const auto& [name, entry] : header.entries) {
    const auto& [dtype, shape] = *next++;
    if (!dtype->dtype.has_value()) {
      view.unsupported_.emplace(name, dtype->name);
      continue;
    }
    const TensorView tensor = {parts.data.data() + entry.begin, *dtype->dtype,
                               shape};
    if (tensor.dtype == DataType::kBool) {
      ATTENTION_RETURN_IF_ERROR(CheckBools(name, tensor));
    }
    view.tensors_.emplace(name, tensor);
  }
  return view;
}

absl::Status SafetensorsView::Add(const SafetensorsView& other) {
  for (const auto& [name, tensor] : other.tensors_) {
    if (unsupported_.contains(name) || !tensors_.emplace(name, tensor).second) {
      return EntryError(name, "in two files");
    }
  }
  for (const auto& [name, dtype] : other.unsupported_) {
    if (tensors_.contains(name) || !unsupported_.emplace(name, dtype).second) {
      return EntryError(name, "in two files");
    }
  }
  return absl::OkStatus();
}

}  // namespace attention
