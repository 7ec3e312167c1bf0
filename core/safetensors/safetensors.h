// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/tensor/named_tensors.h"

namespace attention {

// core/safetensors: reading and writing safetensors files, whoever made them,
// and telling what other files are. Knows tensors and names, not modules: the
// client uses it too. Uses core/tensor.

/// Strings by name: the `__metadata__` of a safetensors file.
using SafetensorsMetadata = std::map<std::string, std::string, std::less<>>;

/// Reading view of a safetensors file that lies in memory.
///
/// The file may come from anyone: every size is checked before it is used, and
/// what the format leaves open is refused. Beyond the format's own rules
/// (header at most 100,000,000 bytes; tensors cover the data from its first to
/// its last byte without hole or overlap, each as long as its dtype and shape
/// say) a file is refused when it has duplicate keys, unknown fields of a
/// tensor, a dtype the format does not know, numbers that are not plain
/// non-negative integers, bool elements other than 0 and 1, more than
/// kMaxTensors tensors or kMaxMetadataEntries metadata entries, a name longer
/// than kMaxNameBytes, or a shape that is not a valid Shape. JSON whitespace
/// around the header's object is accepted.
///
/// Lifetime: borrows the file's bytes. Thread-compatible.
/// Source: https://huggingface.co/docs/safetensors#format and the reference
/// reader, safetensors/src/tensor.rs.
class SafetensorsView {
 public:
  static constexpr std::size_t kMaxHeaderBytes = 100'000'000;
  static constexpr std::size_t kMaxTensors = 65'536;
  static constexpr std::size_t kMaxNameBytes = 1'024;
  static constexpr std::size_t kMaxMetadataEntries = 4'096;

  /// View a whole file.
  /// \return INVALID_ARGUMENT saying what is wrong with the file, and where.
  /// Cost: O(header) time and memory, and one pass over bool tensors.
  [[nodiscard]] static absl::StatusOr<SafetensorsView> Parse(
      std::span<const std::byte> file);

  /// View no tensors.
  SafetensorsView() = default;

  /// View the tensors of another file too: the shards of a model.
  /// \return INVALID_ARGUMENT naming a tensor that both have.
  [[nodiscard]] absl::Status Add(const SafetensorsView& other);

  /// Tensors whose dtype has a DataType; not necessarily aligned.
  [[nodiscard]] const NamedTensors& tensors() const { return tensors_; }

  /// The other tensors: the file's name of their dtype, such as "F8_E4M3", by
  /// tensor name. Kept apart so that a file which also holds such tensors can
  /// still be opened for the sake of others.
  [[nodiscard]] const ForeignTensors& unsupported() const {
    return unsupported_;
  }

  [[nodiscard]] const SafetensorsMetadata& metadata() const {
    return metadata_;
  }

 private:
  NamedTensors tensors_;
  ForeignTensors unsupported_;
  SafetensorsMetadata metadata_;
};

}  // namespace attention
