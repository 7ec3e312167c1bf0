// SPDX-License-Identifier: Apache-2.0
#include "core/fused/tile_mask.h"

#include <algorithm>

namespace attention {
namespace {

bool HidesByLength(const RequestPlan& request) {
  return request.row_valid_lens && !request.replaces_scores;
}

// Whether a tile's masks are the same for every head.
bool ServesAllHeads(const RequestPlan& request) {
  return !request.attn_mask || request.attn_mask_steps.head == 0;
}

// Whether what is hidden at the end of a row is all there is behind it.
bool EndsAreLast(const RequestPlan& request) {
  return request.appended_keys == 0 ||
         (request.causal_over_appended && request.causal == Causal::kNone &&
          !HidesByLength(request));
}

}  // namespace

bool TileMask::NeedsMemory(const RequestPlan& request) {
  return request.attn_mask || request.key_padding_mask || HidesEnds(request);
}

bool TileMask::HidesEnds(const RequestPlan& request) {
  return request.causal != Causal::kNone || request.causal_over_appended ||
         HidesByLength(request);
}

void TileMask::Read(const QueryTile& tile, std::int64_t head) {
  if (serves_all_heads_ && tile == tile_) return;
  const RequestPlan& request = tile.place->request();
  tile_ = tile;
  ReadEnds();
  mask_ = nullptr;
  if (AddsMask(request)) ReadMask(head);
  serves_all_heads_ = ServesAllHeads(request);
}

bool TileMask::AddsMask(const RequestPlan& request) const {
  return request.attn_mask || request.key_padding_mask || hides_within_;
}

void TileMask::ReadEnds() {
  const RequestPlan& request = tile_.place->request();
  const bool cuts = HidesEnds(request) && EndsAreLast(request);
  hides_within_ = HidesEnds(request) && !cuts;
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
  const PassSequence& place = *tile_.place;
  const std::int64_t seen = VisibleColumns(*place.sequence, row);
  const std::int64_t end = place.non_finite_queries[row] != 0
                               ? place.sequence->num_columns()
                               : std::max(seen, place.non_finite_end);
  if (end > seen) hides_within_ = true;
  return end;
}

bool TileMask::IsInPlace(const Sequence& sequence) {
  const RequestPlan& request = *sequence.request;
  if (!request.attn_mask || request.key_padding_mask || HidesEnds(request) ||
      sequence.appended_keys > 0 || !sequence.visible_keys.empty()) {
    return false;
  }
  const TensorView& mask = *request.attn_mask;
  return mask.dtype == DataType::kFloat32 &&
         reinterpret_cast<std::uintptr_t>(mask.data) % sizeof(float) == 0;
}

bool TileMask::ReadsOnce(const Sequence& sequence) {
  const RequestPlan& request = *sequence.request;
  const bool puts_together = request.attn_mask || request.key_padding_mask ||
                             (HidesEnds(request) && !EndsAreLast(request));
  return puts_together && ServesAllHeads(request) && !IsInPlace(sequence);
}

void TileMask::ReadMask(std::int64_t head) {
  const Sequence& sequence = *tile_.place->sequence;
  if (IsInPlace(sequence)) {
    const RequestPlan& request = *sequence.request;
    const TensorView& mask = *request.attn_mask;
    const std::int64_t row =
        request.attn_mask_steps.RowOf(sequence.index, head, tile_.first_row);
    mask_ = reinterpret_cast<const float*>(mask.data) + row * mask.shape.back();
    mask_stride_ = request.attn_mask_steps.row * mask.shape.back();
    return;
  }
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
