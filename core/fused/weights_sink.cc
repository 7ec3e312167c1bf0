// SPDX-License-Identifier: Apache-2.0
#include "core/fused/weights_sink.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/simd/softmax.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

bool CanWriteInPlace(const PackedBatch& batch,
                     const AttentionOutputs& outputs) {
  return batch.need_weights && outputs.weights->dtype == DataType::kFloat32 &&
         reinterpret_cast<std::uintptr_t>(outputs.weights->data) %
                 sizeof(float) ==
             0;
}

}  // namespace

float MaskedWeight(const PackedBatch& batch) {
  return batch.masked_rows_are_nan ? kNaN : 0.0F;
}

WeightsSink::WeightsSink(const PackedBatch& batch,
                         const AttentionOutputs& outputs,
                         std::int64_t tile_rows, Carver& carver)
    : batch_(batch),
      outputs_(outputs),
      in_place_(CanWriteInPlace(batch, outputs)),
      masked_weight_(MaskedWeight(batch)),
      memory_(carver.Take<float>(batch.need_weights && !in_place_
                                     ? tile_rows * batch.weight_columns()
                                     : 0)) {}

std::byte* WeightsSink::Target(const QueryTile& tile, std::int64_t head,
                               std::int64_t row) const {
  const std::int64_t sequence = tile.place->sequence->index;
  const std::int64_t matrix = batch_.average_attn_weights
                                  ? sequence
                                  : sequence * batch_.num_heads + head;
  const std::int64_t offset =
      (matrix * batch_.max_query_length + tile.first_row + row) *
      batch_.weight_columns();
  return outputs_.weights->data + static_cast<std::size_t>(offset) *
                                      DataTypeSize(outputs_.weights->dtype);
}

float* WeightsSink::RowMemory(const QueryTile& tile, std::int64_t head,
                              std::int64_t row) {
  return in_place_ ? reinterpret_cast<float*>(Target(tile, head, row))
                   : memory_.data() + row * batch_.weight_columns();
}

void WeightsSink::Convert(const QueryTile& tile, std::int64_t head,
                          std::int64_t row) {
  if (in_place_) return;
  StoreReals(RowMemory(tile, head, row),
             static_cast<std::size_t>(batch_.weight_columns()),
             outputs_.weights->dtype, Target(tile, head, row));
}

void WeightsSink::Store(const QueryTile& tile, std::int64_t head,
                        std::int64_t row, const BlockedRow& weights) {
  const Sequence& sequence = *tile.place->sequence;
  const bool accumulate = batch_.average_attn_weights && head > 0;
  float* to = RowMemory(tile, head, row);
  if (weights.sum == 0.0F) {
    Set(sequence, {masked_weight_, masked_weight_}, accumulate, to);
  } else if (std::isnan(weights.sum)) {
    Set(sequence, {kNaN, 0.0F}, accumulate, to);
  } else {
    Scale(sequence, weights, accumulate, to);
  }
  if (!batch_.average_attn_weights) Convert(tile, head, row);
}

void WeightsSink::Fill(const QueryTile& tile, std::int64_t head, float value) {
  const Sequence& sequence = *tile.place->sequence;
  const bool accumulate = batch_.average_attn_weights && head > 0;
  for (std::int64_t row = 0; row < tile.num_rows; ++row) {
    Set(sequence, {value, value}, accumulate, RowMemory(tile, head, row));
    if (!batch_.average_attn_weights) Convert(tile, head, row);
  }
}

// Give the columns of visible keys one weight, and those of padding another.
void WeightsSink::Set(const Sequence& sequence, const RowWeight& weight,
                      bool accumulate, float* to) const {
  const std::int64_t columns = batch_.weight_columns();
  if (!accumulate) std::fill_n(to, columns, weight.hidden);
  if (accumulate && weight.hidden != 0.0F) {
    for (std::int64_t j = 0; j < columns; ++j) to[j] += weight.hidden;
  }
  for (std::int64_t k = 0; k < sequence.num_columns(); ++k) {
    float& element = to[batch_.weight_column(sequence, k)];
    element = accumulate ? element + weight.visible : weight.visible;
  }
}

// Give every visible column its weight, and all others 0.
void WeightsSink::Scale(const Sequence& sequence, const BlockedRow& row,
                        bool accumulate, float* to) const {
  const bool contiguous = sequence.visible_keys.empty();
  const std::int64_t end = std::min(row.num_columns, sequence.num_visible);
  if (!accumulate) {
    const std::int64_t written = contiguous ? end : 0;
    std::fill_n(to + written, batch_.weight_columns() - written, 0.0F);
  }
  for (std::int64_t first = 0; first < row.num_columns; first += kBlockKeys) {
    const std::int64_t block = first / kBlockKeys;
    const float factor =
        Exp(row.maxima[block * row.maxima_stride] - row.maximum) / row.sum;
    const float* from = row.weights + block * row.block_stride;
    const std::int64_t last = std::min(row.num_columns, first + kBlockKeys);
    const std::int64_t run =
        contiguous ? std::clamp<std::int64_t>(end - first, 0, kBlockKeys) : 0;
    ScaleRow({from, static_cast<std::size_t>(run)}, factor, accumulate,
             to + first);
    for (std::int64_t k = first + run; k < last; ++k) {
      to[batch_.weight_column(sequence, k)] += factor * from[k - first];
    }
  }
}

void WeightsSink::Finish(const QueryTile& tile) {
  if (!batch_.need_weights || !batch_.average_attn_weights) return;
  const float factor = 1.0F / static_cast<float>(batch_.num_heads);
  const auto columns = static_cast<std::size_t>(batch_.weight_columns());
  for (std::int64_t row = 0; row < tile.num_rows; ++row) {
    float* weights = RowMemory(tile, /*head=*/0, row);
    ScaleRow({weights, columns}, factor, /*accumulate=*/false, weights);
    Convert(tile, /*head=*/0, row);
  }
}

}  // namespace attention
