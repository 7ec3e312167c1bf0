// SPDX-License-Identifier: Apache-2.0
#include "core/reference/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/dropout.h"
#include "core/attention/masks.h"
#include "core/reference/reference_linear.h"

namespace attention {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Softmax of a row in place; return whether the row has no score above -inf,
// in which case every weight becomes `masked_weight`.
bool Softmax(double masked_weight, std::span<double> scores) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (std::ranges::all_of(scores, [](double s) { return s == -kInfinity; })) {
    std::ranges::fill(scores, masked_weight);
    return true;
  }
  // A NaN score makes the whole row NaN: through the maximum or the sum.
  double max = -kInfinity;
  for (const double score : scores) max = std::max(max, score);
  double sum = 0.0;
  for (double& score : scores) sum += score = std::exp(score - max);
  for (double& score : scores) score /= sum;
  return false;
}

// One forward pass over one sequence after another.
class ReferencePass {
 public:
  ReferencePass(const AttentionSpec& spec, const AttentionWeights& weights,
                std::uint32_t layer)
      : spec_(spec),
        layer_(layer),
        input_(static_cast<std::size_t>(
            std::max({spec.query_dim, spec.key_dim, spec.value_dim}))) {
    if (spec.input_projections) {
      query_.emplace(weights.query);
      key_.emplace(weights.key);
      value_.emplace(weights.value);
    }
    if (spec.output_projection) output_.emplace(weights.output);
    if (weights.bias_k) bias_k_ = ToMatrix(*weights.bias_k);
    if (weights.bias_v) bias_v_ = ToMatrix(*weights.bias_v);
  }

  void Compute(const Sequence& sequence) {
    const RequestPlan& request = *sequence.request;
    ZeroMissingWeights(sequence);
    mask_line_.resize(static_cast<std::size_t>(request.max_key_length));
    const Matrix keys = ProjectKeys(
        sequence,
        {sequence.key, key_, bias_k_, spec_.key_dim, spec_.key_width()});
    const Matrix values =
        ProjectKeys(sequence, {sequence.value, value_, bias_v_, spec_.value_dim,
                               spec_.value_width()});
    std::vector<double> query(static_cast<std::size_t>(spec_.query_width()));
    std::vector<double> context(static_cast<std::size_t>(spec_.output_width()));
    std::vector<double> output(context.size());
    for (std::int64_t i = 0; i < sequence.query_length; ++i) {
      if (request.StopRequested()) return;
      ProjectRow({sequence.query, i}, spec_.query_dim, query_, query);
      AttendRow(sequence, i, {query.data(), keys, values, context.data()});
      if (output_) output_->Apply(context.data(), output.data());
      WriteRow((output_ ? output : context).data(), spec_.output_width(),
               sequence.output, i);
    }
  }

 private:
  struct Row {
    const double* query;  // [H D]
    const Matrix& keys;   // [columns, Hkv D]
    const Matrix& values;
    double* context;  // [H Dv]
  };
  struct KeySide {
    const Rows& rows;
    const std::optional<Linear>& linear;
    const std::optional<Matrix>& bias_row;
    std::int64_t input_width;
    std::int64_t width;
  };
  struct InputRow {
    const Rows& rows;
    std::int64_t index;
  };

  // A row of `input_width` elements, projected if there is a projection.
  void ProjectRow(const InputRow& row, std::int64_t input_width,
                  const std::optional<Linear>& linear,
                  std::span<double> projected) {
    if (!linear) {
      ReadRow(row.rows, row.index, input_width, projected.data());
      return;
    }
    ReadRow(row.rows, row.index, input_width, input_.data());
    linear->Apply(input_.data(), projected.data());
  }

  // The projected visible keys (or values), then the appended rows.
  Matrix ProjectKeys(const Sequence& sequence, const KeySide& side) {
    Matrix projected(sequence.num_columns(), side.width);
    std::int64_t row = 0;
    for (; row < sequence.num_visible && !sequence.request->StopRequested();
         ++row) {
      ProjectRow({side.rows, sequence.visible_key(row)}, side.input_width,
                 side.linear,
                 {projected.row(row), static_cast<std::size_t>(side.width)});
    }
    if (row < sequence.num_visible) return projected;
    if (side.bias_row) {
      std::copy_n(side.bias_row->row(0), side.width, projected.row(row));
    }
    return projected;  // the row of zeros, if any, is zero already
  }

  // context = concat_h softmax(scale q_h K_g^T + M) V_g for one row.
  void AttendRow(const Sequence& sequence, std::int64_t i, const Row& row) {
    const RequestPlan& request = *sequence.request;
    const DropoutMask dropout(request, layer_, DropoutSite::kWeights);
    MaskReader<double> masks(mask_line_);
    const std::int64_t group = spec_.num_heads / spec_.num_key_value_heads;
    const auto columns = static_cast<std::size_t>(sequence.num_columns());
    scores_.resize(columns);
    mask_.resize(columns);
    average_.assign(columns, 0.0);
    average_hidden_ = 0.0;
    for (std::int64_t h = 0; h < spec_.num_heads; ++h) {
      const double* query = row.query + h * spec_.head_dim;
      const std::int64_t first = h / group * spec_.head_dim;
      for (std::size_t k = 0; k < columns; ++k) {
        const double* key = row.keys.row(static_cast<std::int64_t>(k)) + first;
        scores_[k] = spec_.scale * Dot(query, key, spec_.head_dim);
      }
      MaskReader<double>::Replace(sequence, i, scores_.data());
      masks.Read(sequence, h, i, mask_.data());
      for (std::size_t k = 0; k < columns; ++k) scores_[k] += mask_[k];
      const double hidden = Normalize(sequence);
      if (request.wants_weights_before_dropout()) {
        KeepWeights(sequence, h, i, hidden);
      }
      if (dropout.active()) {
        dropout.Apply({sequence, h, i, /*first_column=*/0}, std::span(scores_));
      }
      if (request.wants_weights_after_dropout()) {
        KeepWeights(sequence, h, i, hidden);
      }
      SumValues(row, h, hidden);
    }
  }

  // Turn scores_ into weights; return the weight of hidden columns, which is
  // that of the others where the row sees nothing.
  double Normalize(const Sequence& sequence) {
    const double masked_weight =
        sequence.request->masked_rows_are_nan ? kNaN : 0.0;
    const bool masked = Softmax(masked_weight, scores_);
    // Without any key at all there is nothing that could be masked.
    const bool has_keys = sequence.key_length + sequence.appended_keys > 0;
    return masked && has_keys ? masked_weight : 0.0;
  }

  void SumValues(const Row& row, std::int64_t head, double start) const {
    const std::int64_t group = spec_.num_heads / spec_.num_key_value_heads;
    const std::int64_t width = spec_.value_head_dim;
    double* context = row.context + head * width;
    std::fill_n(context, width, start);
    for (std::size_t k = 0; k < scores_.size(); ++k) {
      const double* value =
          row.values.row(static_cast<std::int64_t>(k)) + head / group * width;
      for (std::int64_t d = 0; d < width; ++d) {
        context[d] += scores_[k] * value[d];
      }
    }
  }

  // Put scores_, now weights, where the caller wants them.
  void KeepWeights(const Sequence& sequence, std::int64_t head, std::int64_t i,
                   double hidden) {
    const RequestPlan& request = *sequence.request;
    const std::int64_t num_heads = spec_.num_heads;
    const bool average = request.average_attn_weights;
    for (std::size_t k = 0; k < scores_.size(); ++k) {
      average_[k] = (average ? average_[k] : 0.0) + scores_[k];
    }
    average_hidden_ = (average ? average_hidden_ : 0.0) + hidden;
    if (average && head + 1 < num_heads) return;
    const double divisor = average ? static_cast<double>(num_heads) : 1.0;
    std::vector<double> line(static_cast<std::size_t>(request.weight_columns()),
                             average_hidden_ / divisor);
    for (std::size_t k = 0; k < average_.size(); ++k) {
      const std::int64_t column =
          request.weight_column(sequence, static_cast<std::int64_t>(k));
      line[static_cast<std::size_t>(column)] = average_[k] / divisor;
    }
    StoreReals(line.data(), line.size(), request.weights.dtype,
               request.weight_data(sequence, average ? 0 : head, i));
  }

  const AttentionSpec& spec_;
  const std::uint32_t layer_;
  std::optional<Linear> query_, key_, value_, output_;
  std::optional<Matrix> bias_k_, bias_v_;
  std::vector<double> mask_line_;
  std::vector<double> input_;                    // a row of any tensor
  std::vector<double> scores_, mask_, average_;  // [columns]
  double average_hidden_ = 0.0;                  // of hidden columns
};

}  // namespace

void ComputeReferenceAttention(const AttentionSpec& spec,
                               const AttentionWeights& weights,
                               std::span<const Sequence> sequences,
                               std::uint32_t layer) {
  ReferencePass pass(spec, weights, layer);
  for (const Sequence& sequence : sequences) {
    if (!sequence.request->StopRequested()) pass.Compute(sequence);
  }
}

std::size_t ReferenceAttentionBytes(const AttentionSpec& spec,
                                    std::span<const Sequence> sequences) {
  std::size_t columns = 0;
  for (const Sequence& sequence : sequences) {
    columns = std::max(
        columns, static_cast<std::size_t>(sequence.request->weight_columns()));
  }
  const auto key_widths =
      static_cast<std::size_t>(spec.key_width() + spec.value_width());
  const auto widths = static_cast<std::size_t>(
      std::max({spec.query_dim, spec.key_dim, spec.value_dim}) +
      spec.query_width() + 2 * spec.output_width());
  // Lines grow from sequence to sequence, to twice what is needed at most, and
  // the old and the new one of them are there at one time.
  return sizeof(double) * (10 * columns + widths + columns * key_widths);
}

}  // namespace attention
