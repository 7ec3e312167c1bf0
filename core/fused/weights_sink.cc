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

// As long as the outputs are not bound, that is not known: no.
bool CanWriteInPlace(const RequestPlan& request) {
  return request.weights.data != nullptr &&
         request.weights.dtype == DataType::kFloat32 &&
         reinterpret_cast<std::uintptr_t>(request.weights.data) %
                 sizeof(float) ==
             0;
}

}  // namespace

float MaskedWeight(const RequestPlan& request) {
  return request.masked_rows_are_nan ? kNaN : 0.0F;
}

std::int64_t WeightsSink::MemorySize(const RequestPlan& request,
                                     std::int64_t tile_rows) {
  return request.need_weights && !CanWriteInPlace(request)
             ? tile_rows * request.weight_columns()
             : 0;
}

WeightsSink::WeightsSink(const QueryTile& tile, std::span<float> memory)
    : tile_(tile),
      sequence_(*tile.place->sequence),
      request_(*sequence_.request),
      in_place_(CanWriteInPlace(request_)),
      memory_(memory) {}

std::byte* WeightsSink::Target(std::int64_t head, std::int64_t row) const {
  return request_.weight_data(sequence_, head, tile_.first_row + row);
}

float* WeightsSink::RowMemory(std::int64_t head, std::int64_t row) {
  return in_place_ ? reinterpret_cast<float*>(Target(head, row))
                   : memory_.data() + row * request_.weight_columns();
}

void WeightsSink::Convert(std::int64_t head, std::int64_t row) {
  if (in_place_) return;
  StoreReals(RowMemory(head, row),
             static_cast<std::size_t>(request_.weight_columns()),
             request_.weights.dtype, Target(head, row));
}

void WeightsSink::Store(std::int64_t head, std::int64_t row,
                        const BlockedRow& weights) {
  const bool accumulate = request_.average_attn_weights && head > 0;
  float* to = RowMemory(head, row);
  if (weights.sum == 0.0F) {
    const float masked = MaskedWeight(request_);
    Set({masked, masked}, accumulate, to);
  } else if (std::isnan(weights.sum)) {
    Set({kNaN, 0.0F}, accumulate, to);
  } else {
    Scale(weights, accumulate, to);
  }
  if (!request_.average_attn_weights) Convert(head, row);
}

void WeightsSink::Fill(std::int64_t head, float value) {
  const bool accumulate = request_.average_attn_weights && head > 0;
  for (std::int64_t row = 0; row < tile_.num_rows; ++row) {
    Set({value, value}, accumulate, RowMemory(head, row));
    if (!request_.average_attn_weights) Convert(head, row);
  }
}

// Give the columns of visible keys one weight, and those of padding another.
void WeightsSink::Set(const RowWeight& weight, bool accumulate,
                      float* to) const {
  const std::int64_t columns = request_.weight_columns();
  if (!accumulate) std::fill_n(to, columns, weight.hidden);
  if (accumulate && weight.hidden != 0.0F) {
    for (std::int64_t j = 0; j < columns; ++j) to[j] += weight.hidden;
  }
  for (std::int64_t k = 0; k < sequence_.num_columns(); ++k) {
    float& element = to[request_.weight_column(sequence_, k)];
    element = accumulate ? element + weight.visible : weight.visible;
  }
}

// Give every visible column its weight, and all others 0.
void WeightsSink::Scale(const BlockedRow& row, bool accumulate,
                        float* to) const {
  const bool contiguous = sequence_.visible_keys.empty();
  const std::int64_t end = std::min(row.num_columns, sequence_.num_visible);
  if (!accumulate) {
    const std::int64_t written = contiguous ? end : 0;
    std::fill_n(to + written, request_.weight_columns() - written, 0.0F);
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
      to[request_.weight_column(sequence_, k)] += factor * from[k - first];
    }
  }
}

void WeightsSink::Finish() {
  if (!request_.averages_weights()) return;
  const float factor = 1.0F / static_cast<float>(request_.num_heads);
  const auto columns = static_cast<std::size_t>(request_.weight_columns());
  for (std::int64_t row = 0; row < tile_.num_rows; ++row) {
    float* weights = RowMemory(/*head=*/0, row);
    ScaleRow({weights, columns}, factor, /*accumulate=*/false, weights);
    Convert(/*head=*/0, row);
  }
}

}  // namespace attention
