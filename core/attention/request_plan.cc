// SPDX-License-Identifier: Apache-2.0
#include "core/attention/request_plan.h"

#include <cstring>
#include <utility>

#include "core/attention/token_rows.h"

namespace attention {

void RequestPlan::Bind(const AttentionOutputs& outputs,
                       std::function<bool()> stop) {
  std::int64_t row = 0;
  for (Sequence& sequence : sequences) {
    sequence.output =
        RowsOf<std::byte>(outputs.output, query_layout,
                          query_layout.sequence_first ? sequence.index : row);
    row += sequence.query_length;
  }
  if (outputs.weights) weights = *outputs.weights;
  stop_ = std::move(stop);
  stopped_ = false;
}

bool RequestPlan::StopRequested() const {
  if (!stopped_.load(std::memory_order_relaxed) && stop_ && stop_()) {
    stopped_ = true;
  }
  return stopped_.load(std::memory_order_relaxed);
}

std::size_t RequestPlan::memory_bytes() const {
  std::size_t num_bytes = sizeof(*this) +
                          sequences.capacity() * sizeof(Sequence) +
                          visible_keys.capacity() * sizeof(visible_keys[0]);
  for (const std::vector<std::int32_t>& keys : visible_keys) {
    num_bytes += keys.capacity() * sizeof(keys[0]);
  }
  return num_bytes;
}

std::int64_t NumQueryRows(std::span<const Sequence> sequences) {
  std::int64_t num_rows = 0;
  for (const Sequence& sequence : sequences) num_rows += sequence.query_length;
  return num_rows;
}

void PlaceSequences(std::span<const Sequence> sequences, Rows from,
                    MutableRows to, std::span<Sequence> placed) {
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    Sequence& sequence = placed[s];
    sequence = sequences[s];
    sequence.query = sequence.key = sequence.value = from;
    sequence.output = to;
    from = from.from_row(sequence.query_length);
    to = to.from_row(sequence.query_length);
  }
}

void ZeroMissingWeights(const Sequence& sequence) {
  const RequestPlan& request = *sequence.request;
  const std::int64_t missing = request.max_query_length - sequence.query_length;
  if (!request.need_weights || missing == 0) return;
  const std::int64_t heads =
      request.average_attn_weights ? 1 : request.num_heads;
  const std::size_t row_bytes =
      static_cast<std::size_t>(request.weight_columns()) *
      DataTypeSize(request.weights.dtype);
  for (std::int64_t head = 0; head < heads; ++head) {
    std::memset(request.weight_data(sequence, head, sequence.query_length), 0,
                static_cast<std::size_t>(missing) * row_bytes);
  }
}

}  // namespace attention
