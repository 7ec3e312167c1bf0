// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/attention/module_spec.h"
#include "core/attention/packed_batch.h"
#include "core/fused/tile_sink.h"
#include "core/tensor/round_up.h"

namespace attention {

/// Keys that lie together in packed form, counted from a sequence's first
/// visible key; and what the last chunk of a sequence is a multiple of.
inline constexpr std::int64_t kChunkKeys = 64;
inline constexpr std::int64_t kKeyLanes = 16;

/// Where one sequence's rows lie in the matrices of a pass.
struct FusedSequence {
  const Sequence* sequence = nullptr;
  std::int64_t first_query = 0;  ///< among the query rows of the pass
  std::int64_t first_key = 0;    ///< among the visible keys of the pass
  std::int64_t key_offset = 0;   ///< padded keys of the sequences before it
  std::int64_t padded_keys = 0;  ///< num_columns() rounded up to kKeyLanes
  // Kept where PackedKeys::watches_finite() says so, known once all is stored.
  // Not finite is also what becomes infinite in bfloat16.
  /// One behind its last score column whose key or value is not finite.
  std::int64_t non_finite_end = 0;
  /// [query_length]: whether a query is not finite.
  const std::uint8_t* non_finite_queries = nullptr;
};

/// Keys and values of a pass as FusedKernels takes them, for each sequence, key
/// head and chunk:
///
///   keys    K^T  [D, w]   w = chunk_width(): kChunkKeys, less in the last
///   values  V    [w, Dv]  Dv rounded up to kKeyLanes
///
/// in float32; in bfloat16 with their rows in pairs, [D / 2, w, 2] and
/// [w / 2, Dv, 2], D made even. Appended columns follow the visible keys. Rows
/// of V behind the last column are zeros; columns of K^T there, and of V behind
/// Dv, are undefined, as is what comes of them.
struct PackedKeys {
  DataType dtype = DataType::kFloat32;
  std::int64_t num_heads = 0;       ///< Hkv
  std::int64_t head_dim = 0;        ///< D
  std::int64_t value_head_dim = 0;  ///< Dv
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  std::span<FusedSequence> sequences;
  /// For each query row of the pass; empty where nobody wants to know.
  std::span<std::uint8_t> non_finite_queries;

  [[nodiscard]] bool watches_finite() const {
    return !non_finite_queries.empty();
  }

  /// D and Dv as they are stored.
  [[nodiscard]] std::int64_t key_depth() const {
    return dtype == DataType::kBFloat16 ? RoundUp<std::int64_t>(head_dim, 2)
                                        : head_dim;
  }
  [[nodiscard]] std::int64_t value_columns() const {
    return RoundUp(value_head_dim, kKeyLanes);
  }
  [[nodiscard]] static std::int64_t chunk_width(const FusedSequence& sequence,
                                                std::int64_t chunk) {
    return std::min(kChunkKeys, sequence.padded_keys - chunk * kChunkKeys);
  }
  [[nodiscard]] std::byte* keys_of(const FusedSequence& sequence,
                                   std::int64_t head,
                                   std::int64_t chunk) const {
    return keys + PlaceOf(sequence, head, chunk) *
                      static_cast<std::size_t>(key_depth());
  }
  [[nodiscard]] std::byte* values_of(const FusedSequence& sequence,
                                     std::int64_t head,
                                     std::int64_t chunk) const {
    return values + PlaceOf(sequence, head, chunk) *
                        static_cast<std::size_t>(value_columns());
  }

 private:
  // Keys before a chunk, times the size of an element.
  [[nodiscard]] std::size_t PlaceOf(const FusedSequence& sequence,
                                    std::int64_t head,
                                    std::int64_t chunk) const {
    return static_cast<std::size_t>(sequence.key_offset * num_heads +
                                    head * sequence.padded_keys +
                                    chunk * kChunkKeys) *
           DataTypeSize(dtype);
  }
};

/// Stores the rows of a key or value projection, which are the visible keys of
/// a pass's sequences, in packed form, and behind a sequence's last one its
/// appended rows and zeros.
class KeySink final : public TileSink {
 public:
  enum class Part : std::uint8_t { kKeys, kValues };

  /// \param appended rows to append to each sequence: bias_k or bias_v [width],
  ///   or empty.
  /// Lifetime: borrows.
  KeySink(const PackedKeys& packed, Part part,
          const std::vector<float>& appended)
      : packed_(packed), part_(part), appended_(appended) {}

  void Store(std::int64_t row, std::int64_t column,
             const Tile& tile) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;
  /// Store what follows the last key of a sequence, in columns [column, column
  /// + columns) of the projection; for sequences without any visible key.
  void StoreEnd(FusedSequence& sequence, std::int64_t column,
                std::int64_t columns) const;
  [[nodiscard]] std::int64_t width() const {
    return packed_.num_heads * head_dim();
  }

 private:
  [[nodiscard]] std::int64_t head_dim() const {
    return part_ == Part::kKeys ? packed_.head_dim : packed_.value_head_dim;
  }
  void StoreKeys(FusedSequence& sequence, std::int64_t key, std::int64_t column,
                 const Tile& tile) const;
  void StoreInChunk(const FusedSequence& sequence, std::int64_t key,
                    std::int64_t column, const Tile& tile) const;

  const PackedKeys& packed_;
  Part part_;
  const std::vector<float>& appended_;
};

/// Stores the rows of a query projection, which are those of a pass's
/// sequences, as rows of a matrix. Lifetime: borrows.
class QuerySink final : public TileSink {
 public:
  QuerySink(const MutableTensorView& matrix,
            std::span<const std::int64_t> numbers, const PackedKeys& packed)
      : rows_(matrix, numbers), packed_(packed) {}

  void Store(std::int64_t row, std::int64_t column,
             const Tile& tile) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;

 private:
  RowSink rows_;
  const PackedKeys& packed_;
};

}  // namespace attention
