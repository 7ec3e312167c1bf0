// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/fused/pass_sequence.h"
#include "core/tensor/data_type.h"
#include "core/tensor/round_up.h"

namespace attention {

/// Keys of a page, counted from a sequence's first visible key; and what the
/// width of a sequence's last page is a multiple of.
inline constexpr std::int64_t kPageKeys = 64;
inline constexpr std::int64_t kKeyLanes = 16;
/// Up to so many keys are few: see PackedKeys::key_stride.
inline constexpr std::int64_t kFewKeys = 8;

/// Keys and values of a pass in pages, as FusedKernels takes them: for each
/// sequence its pages one after the other, in each page one key head after the
/// other, of each head
///
///   keys    K^T  [D, w]   w = page_width(), rows key_stride() apart
///   values  V    [w, Dv]  Dv rounded up to kKeyLanes
///
/// in float32, where a row of K^T may begin within the padding of the one
/// before it; in bfloat16 with their rows in pairs, [D / 2, w, 2] and
/// [w / 2, Dv, 2], D made even. Appended columns follow the visible keys. Rows
/// of V behind the last column are zeros in bfloat16; in float32 they, and
/// always columns of K^T there and of V behind Dv, are undefined, as is what
/// comes of them.
///
/// w is kPageKeys; the last page of a sequence is as wide as it needs
/// (PassSequence::padded_keys), so that short sequences are not mostly padding.
/// A page never depends on the pages behind it: where the last one is whole,
/// appending a key touches that page alone.
struct PackedKeys {
  DataType dtype = DataType::kFloat32;
  std::int64_t num_heads = 0;       ///< Hkv
  std::int64_t head_dim = 0;        ///< D
  std::int64_t value_head_dim = 0;  ///< Dv
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  std::span<PassSequence> sequences;
  /// For each query row of the pass; empty where nobody wants to know.
  std::span<std::uint8_t> non_finite_queries;

  [[nodiscard]] bool watches_finite() const {
    return !non_finite_queries.empty();
  }

  /// Keys a sequence takes with its padding.
  [[nodiscard]] static std::int64_t PaddedKeys(const Sequence& sequence) {
    return RoundUp(sequence.num_columns(), kKeyLanes);
  }

  /// D and Dv as they are stored.
  [[nodiscard]] std::int64_t key_depth() const {
    return dtype == DataType::kBFloat16 ? RoundUp<std::int64_t>(head_dim, 2)
                                        : head_dim;
  }
  [[nodiscard]] std::int64_t value_columns() const {
    return RoundUp(value_head_dim, kKeyLanes);
  }
  [[nodiscard]] static std::int64_t page_width(const PassSequence& sequence,
                                               std::int64_t page) {
    return std::min(kPageKeys, sequence.padded_keys - page * kPageKeys);
  }
  /// Elements, or pairs of them, from row to row of K^T. A few keys lie side by
  /// side: padded, each element would take a cache line of its own.
  [[nodiscard]] std::int64_t key_stride(const PassSequence& sequence,
                                        std::int64_t page) const {
    const std::int64_t columns = sequence.sequence->num_columns();
    return dtype == DataType::kFloat32 && columns <= kFewKeys
               ? columns
               : page_width(sequence, page);
  }
  [[nodiscard]] std::byte* keys_of(const PassSequence& sequence,
                                   std::int64_t head, std::int64_t page) const {
    return keys + PlaceOf(sequence, head, page) * key_depth();
  }
  [[nodiscard]] std::byte* values_of(const PassSequence& sequence,
                                     std::int64_t head,
                                     std::int64_t page) const {
    return values + PlaceOf(sequence, head, page) * value_columns();
  }

 private:
  // Keys before a head's part of a page, times the size of an element.
  [[nodiscard]] std::int64_t PlaceOf(const PassSequence& sequence,
                                     std::int64_t head,
                                     std::int64_t page) const {
    const std::int64_t before = sequence.key_offset + page * kPageKeys;
    return (before * num_heads + head * page_width(sequence, page)) *
           static_cast<std::int64_t>(DataTypeSize(dtype));
  }
};

}  // namespace attention
