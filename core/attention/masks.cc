// SPDX-License-Identifier: Apache-2.0
#include "core/attention/masks.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "core/attention/integers.h"
#include "core/attention/module_spec.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

template <typename Real>
constexpr Real kMinusInfinity = -std::numeric_limits<Real>::infinity();

// Visible keys before a position.
std::int64_t KeysBefore(const Sequence& sequence, std::int64_t position) {
  const std::span<const std::int32_t> visible = sequence.visible_keys;
  if (visible.empty()) {
    return std::clamp<std::int64_t>(position, 0, sequence.num_visible);
  }
  return std::ranges::lower_bound(visible, position) - visible.begin();
}

// Columns before a position; those appended stand behind the last key's.
std::int64_t ColumnsBefore(const Sequence& sequence, std::int64_t position) {
  return KeysBefore(sequence, position) +
         (std::max(position, sequence.key_length) - sequence.key_length);
}

// Set every column of the first `num_columns` whose position is `end` or above.
template <typename Real>
void SetFrom(const Sequence& sequence, std::int64_t end,
             std::int64_t num_columns, Real value, Real* row) {
  const std::int64_t first =
      std::min(ColumnsBefore(sequence, end), num_columns);
  std::fill(row + first, row + num_columns, value);
}

// Hide every column of the first `num_columns` whose position is `end` or
// above.
template <typename Real>
void HideFrom(const Sequence& sequence, std::int64_t end,
              std::int64_t num_columns, Real* mask) {
  SetFrom(sequence, end, num_columns, kMinusInfinity<Real>, mask);
}

// Length in valid_lens of a query position.
std::int64_t ValidLength(const Sequence& sequence, std::int64_t row) {
  const TensorView& lens = *sequence.request->row_valid_lens;
  return lens.shape.rank() == 1
             ? LoadInteger(lens, sequence.index)
             : LoadInteger(lens, sequence.index * lens.shape.dim(1) + row);
}

}  // namespace

std::int64_t VisibleColumns(const Sequence& sequence, std::int64_t row) {
  const RequestPlan& request = *sequence.request;
  // The position of the first hidden column.
  std::int64_t end = sequence.key_length + sequence.appended_keys;
  if (request.causal_over_appended || request.causal == Causal::kTopLeft) {
    end = std::min(end, row + 1);
  }
  if (request.causal == Causal::kBottomRight) {
    end = std::min(end, row + 1 + sequence.key_length - sequence.query_length);
  }
  if (request.row_valid_lens && !request.replaces_scores) {
    end = std::min(end, ValidLength(sequence, row));
  }
  return ColumnsBefore(sequence, end);
}

std::int64_t FirstReplaced(const Sequence& sequence, std::int64_t row) {
  return KeysBefore(sequence, ValidLength(sequence, row));
}

bool HasMasks(const RequestPlan& request) {
  return request.attn_mask || request.key_padding_mask ||
         (request.row_valid_lens && !request.replaces_scores) ||
         request.causal != Causal::kNone || request.causal_over_appended;
}

template <typename Real>
void MaskReader<Real>::AddTensorRow(const TensorView& tensor,
                                    std::int64_t index,
                                    const Sequence& sequence, Real* mask) {
  const auto width = static_cast<std::size_t>(tensor.shape.back());
  const std::byte* source = tensor.data + static_cast<std::size_t>(index) *
                                              width *
                                              DataTypeSize(tensor.dtype);
  const auto count = static_cast<std::size_t>(sequence.key_length);
  if (tensor.dtype == DataType::kBool) {
    for (std::size_t j = 0; j < count; ++j) {
      line_[j] = source[j] != std::byte{0} ? kMinusInfinity<Real> : Real{0};
    }
  } else {
    LoadReals(tensor.dtype, source, count, line_.data());
  }
  if (sequence.visible_keys.empty()) {
    for (std::int64_t k = 0; k < sequence.num_visible; ++k) {
      mask[k] += line_[static_cast<std::size_t>(k)];
    }
    return;
  }
  for (std::int64_t k = 0; k < sequence.num_visible; ++k) {
    mask[k] += line_[static_cast<std::size_t>(sequence.visible_key(k))];
  }
}

template <typename Real>
void MaskReader<Real>::Read(const Sequence& sequence, std::int64_t head,
                            std::int64_t row, Real* mask) {
  const RequestPlan& request = *sequence.request;
  const std::int64_t num_visible = sequence.num_visible;
  std::fill_n(mask, sequence.num_columns(), Real{0});
  if (request.causal_over_appended) {
    HideFrom(sequence, row + 1, sequence.num_columns(), mask);
  } else if (request.attn_mask) {
    const MaskSteps& steps = request.attn_mask_steps;
    AddTensorRow(*request.attn_mask, steps.RowOf(sequence.index, head, row),
                 sequence, mask);
  }
  if (request.key_padding_mask) {
    AddTensorRow(*request.key_padding_mask, sequence.index, sequence, mask);
  }
  if (request.causal == Causal::kTopLeft) {
    HideFrom(sequence, row + 1, num_visible, mask);
  } else if (request.causal == Causal::kBottomRight) {
    HideFrom(sequence, row + 1 + sequence.key_length - sequence.query_length,
             num_visible, mask);
  }
  if (request.row_valid_lens && !request.replaces_scores) {
    HideFrom(sequence, ValidLength(sequence, row), num_visible, mask);
  }
}

template <typename Real>
void MaskReader<Real>::Replace(const Sequence& sequence, std::int64_t row,
                               Real* scores) {
  const RequestPlan& request = *sequence.request;
  if (!request.row_valid_lens || !request.replaces_scores) return;
  SetFrom(sequence, ValidLength(sequence, row), sequence.num_visible,
          static_cast<Real>(AttentionSpec::kReplacedScore), scores);
}

template class MaskReader<float>;
template class MaskReader<double>;

}  // namespace attention
