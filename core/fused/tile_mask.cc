// SPDX-License-Identifier: Apache-2.0
#include "core/fused/tile_mask.h"

#include <algorithm>

#include "core/tensor/round_up.h"

namespace attention {
namespace {

bool HidesByLength(const PackedBatch& batch) {
  return batch.row_valid_lens && !batch.replaces_scores;
}

// Whether what is hidden at the end of a row is all there is behind it.
bool EndsAreLast(const PackedBatch& batch) {
  return batch.appended_keys == 0 ||
         (batch.causal_over_appended && batch.causal == Causal::kNone &&
          !HidesByLength(batch));
}

// Whether a tile of the mask may have to be put together.
bool NeedsMemory(const PackedBatch& batch) {
  return batch.attn_mask || batch.key_padding_mask ||
         TileMask::HidesEnds(batch);
}

}  // namespace

TileMask::TileMask(const PackedBatch& batch, std::int64_t tile_rows,
                   std::int64_t max_columns, Carver& carver)
    : batch_(batch),
      line_(carver.Take<float>(NeedsMemory(batch) ? batch.max_key_length : 0)),
      reader_(batch, line_),
      ends_(carver.Take<std::int64_t>(tile_rows)),
      memory_(carver.Take<float>(NeedsMemory(batch) ? tile_rows * max_columns
                                                    : 0)) {}

bool TileMask::HidesEnds(const PackedBatch& batch) {
  return batch.causal != Causal::kNone || batch.causal_over_appended ||
         HidesByLength(batch);
}

void TileMask::Read(const QueryTile& tile, std::int64_t head) {
  if (serves_all_heads_ && tile == tile_) return;
  tile_ = tile;
  ReadEnds();
  mask_ = nullptr;
  if (AddsMask()) ReadMask(head);
  serves_all_heads_ = !batch_.attn_mask || batch_.attn_mask_steps.head == 0;
}

bool TileMask::AddsMask() const {
  return (batch_.attn_mask && !batch_.causal_over_appended) ||
         batch_.key_padding_mask || hides_within_;
}

void TileMask::ReadEnds() {
  const bool cuts = HidesEnds(batch_) && EndsAreLast(batch_);
  hides_within_ = HidesEnds(batch_) && !cuts;
  end_ = 0;
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    const std::int64_t end = cuts ? CutEnd(tile_.first_row + i)
                                  : tile_.place->sequence->num_columns();
    ends_[static_cast<std::size_t>(i)] = end;
    end_ = std::max(end_, end);
  }
}

// Where the columns end that are computed of a row: behind those it sees and
// those that are not finite.
std::int64_t TileMask::CutEnd(std::int64_t row) {
  const FusedSequence& place = *tile_.place;
  const std::int64_t seen = VisibleColumns(batch_, *place.sequence, row);
  const std::int64_t end = place.non_finite_queries[row] != 0
                               ? place.sequence->num_columns()
                               : std::max(seen, place.non_finite_end);
  if (end > seen) hides_within_ = true;
  return end;
}

// The request's own memory, where it has just what is to be added.
const float* TileMask::MaskInPlace(std::int64_t head) const {
  const Sequence& sequence = *tile_.place->sequence;
  if (!batch_.attn_mask || batch_.key_padding_mask || HidesEnds(batch_) ||
      sequence.appended_keys > 0 || !sequence.visible_keys.empty()) {
    return nullptr;
  }
  const TensorView& mask = *batch_.attn_mask;
  if (mask.dtype != DataType::kFloat32 ||
      reinterpret_cast<std::uintptr_t>(mask.data) % sizeof(float) != 0) {
    return nullptr;
  }
  return reinterpret_cast<const float*>(mask.data) +
         batch_.attn_mask_steps.RowOf(sequence.index, head, tile_.first_row) *
             mask.shape.back();
}

void TileMask::ReadMask(std::int64_t head) {
  mask_ = MaskInPlace(head);
  if (mask_ != nullptr) {
    mask_stride_ = batch_.attn_mask_steps.row * batch_.attn_mask->shape.back();
    return;
  }
  const Sequence& sequence = *tile_.place->sequence;
  mask_stride_ = tile_.place->padded_keys;
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    reader_.Read(sequence, head, tile_.first_row + i,
                 memory_.data() + i * mask_stride_);
  }
  mask_ = memory_.data();
}

void TileMask::Limits(std::int64_t first, std::int64_t width,
                      std::span<std::int64_t> limits) const {
  for (std::int64_t i = 0; i < tile_.num_rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    limits[at] = std::clamp<std::int64_t>(ends_[at] - first, 0, width);
  }
}

}  // namespace attention
