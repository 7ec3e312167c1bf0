// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/fused/packed_keys.h"
#include "core/fused/patch_sink.h"

namespace attention {

/// Stores the rows of a key or value projection, which are the visible keys of
/// a pass's sequences, in pages, and behind a sequence's last one its appended
/// rows and, of values in bfloat16, zeros.
class KeySink final : public PatchSink {
 public:
  enum class Part : std::uint8_t { kKeys, kValues };

  /// \param appended rows to append to each sequence: bias_k or bias_v [width],
  ///   or empty.
  /// Lifetime: borrows.
  KeySink(const PackedKeys& packed, Part part,
          const std::vector<float>& appended)
      : packed_(packed), part_(part), appended_(appended) {}

  void Store(std::int64_t row, std::int64_t column,
             const Patch& patch) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;
  /// Store what follows the last key of a sequence, in columns [column, column
  /// + columns) of the projection; for sequences without any visible key.
  void StoreEnd(PassSequence& sequence, std::int64_t column,
                std::int64_t columns) const;
  [[nodiscard]] std::int64_t width() const {
    return packed_.num_heads * head_dim();
  }

 private:
  [[nodiscard]] std::int64_t head_dim() const {
    return part_ == Part::kKeys ? packed_.head_dim : packed_.value_head_dim;
  }
  void StoreKeys(PassSequence& sequence, std::int64_t key, std::int64_t column,
                 const Patch& patch) const;
  void StoreInPage(const PassSequence& sequence, std::int64_t key,
                   std::int64_t column, const Patch& patch) const;

  const PackedKeys& packed_;
  Part part_;
  const std::vector<float>& appended_;
};

/// Stores the rows of a query projection, which are those of a pass's
/// sequences, as rows of a matrix. Lifetime: borrows.
class QuerySink final : public PatchSink {
 public:
  QuerySink(const MutableRows& matrix, const PackedKeys& packed)
      : rows_(matrix), packed_(packed) {}

  void Store(std::int64_t row, std::int64_t column,
             const Patch& patch) const override;
  [[nodiscard]] Place Accept(std::int64_t row, std::int64_t column,
                             std::int64_t rows,
                             std::int64_t columns) const override;

 private:
  MatrixSink rows_;
  const PackedKeys& packed_;
};

}  // namespace attention
