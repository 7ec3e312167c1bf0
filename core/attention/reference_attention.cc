// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/dropout.h"
#include "core/attention/masks.h"
#include "core/attention/multi_head_attention.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

// A dense row-major matrix of doubles.
struct Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<double> elements;

  Matrix(std::int64_t num_rows, std::int64_t num_columns)
      : rows(num_rows),
        columns(num_columns),
        elements(static_cast<std::size_t>(num_rows * num_columns)) {}
  double* row(std::int64_t i) { return elements.data() + i * columns; }
  const double* row(std::int64_t i) const {
    return elements.data() + i * columns;
  }
};

// Read row `index` of `tensor`, viewed as (rows, last dimension).
void LoadRow(const TensorView& tensor, std::int64_t index, double* row) {
  const auto width = static_cast<std::size_t>(tensor.shape.back());
  LoadReals(tensor.dtype,
            tensor.data + static_cast<std::size_t>(index) * width *
                              DataTypeSize(tensor.dtype),
            width, row);
}

void StoreRow(const double* row, std::int64_t index,
              const MutableTensorView& tensor) {
  const auto width = static_cast<std::size_t>(tensor.shape.back());
  StoreReals(row, width, tensor.dtype,
             tensor.data + static_cast<std::size_t>(index) * width *
                               DataTypeSize(tensor.dtype));
}

Matrix ToMatrix(const Tensor& tensor) {
  const std::int64_t columns = tensor.shape().back();
  Matrix matrix(tensor.shape().num_elements() / columns, columns);
  LoadReals(tensor.dtype(), tensor.view().data, matrix.elements.size(),
            matrix.elements.data());
  return matrix;
}

double Dot(const double* a, const double* b, std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// A linear layer in double: y = x W^T + b.
struct Linear {
  Matrix weight;               // [out, in]
  std::optional<Matrix> bias;  // [1, out]

  explicit Linear(const LinearWeights& weights)
      : weight(ToMatrix(weights.weight)) {
    if (weights.bias) bias = ToMatrix(*weights.bias);
  }
  void Apply(const double* x, double* y) const {
    for (std::int64_t o = 0; o < weight.rows; ++o) {
      y[o] = Dot(x, weight.row(o), weight.columns) +
             (bias ? bias->elements[static_cast<std::size_t>(o)] : 0.0);
    }
  }
};

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

// Bound on the small objects of a pass.
constexpr std::size_t kFixedBytes = 4096;

// One forward pass over one sequence after another.
class ReferencePass {
 public:
  ReferencePass(const MultiHeadAttentionConfig& config,
                const AttentionWeights& weights, const PackedBatch& batch,
                const AttentionOutputs& outputs, const ComputePool& pool)
      : config_(config),
        batch_(batch),
        outputs_(outputs),
        pool_(pool),
        query_(weights.query),
        key_(weights.key),
        value_(weights.value),
        output_(weights.output),
        masks_(batch),
        dropout_(batch.dropout, batch.dropout_seed) {
    if (weights.bias_k) bias_k_ = ToMatrix(*weights.bias_k);
    if (weights.bias_v) bias_v_ = ToMatrix(*weights.bias_v);
  }

  // Returns whether it came to its end.
  bool Compute(const Sequence& sequence) {
    const Matrix keys = ProjectKeys(sequence, batch_.key, key_, bias_k_);
    const Matrix values = ProjectKeys(sequence, batch_.value, value_, bias_v_);
    std::vector<double> input(
        static_cast<std::size_t>(batch_.query.shape.back()));
    std::vector<double> query(static_cast<std::size_t>(config_.embed_dim));
    std::vector<double> context(query.size());
    for (std::int64_t i = 0; i < sequence.query_length; ++i) {
      if (pool_.StopRequested()) return false;
      LoadRow(batch_.query, sequence.query_row(i), input.data());
      query_.Apply(input.data(), query.data());
      AttendRow(sequence, i, {query.data(), keys, values, context.data()});
      output_.Apply(context.data(), query.data());
      StoreRow(query.data(), sequence.query_row(i), outputs_.output);
    }
    return true;
  }

 private:
  struct Row {
    const double* query;  // [E]
    const Matrix& keys;   // [columns, E]
    const Matrix& values;
    double* context;  // [E]
  };

  // The projected visible keys (or values), then the appended rows.
  Matrix ProjectKeys(const Sequence& sequence, const TensorView& tensor,
                     const Linear& linear,
                     const std::optional<Matrix>& bias_row) const {
    Matrix projected(sequence.num_columns(), config_.embed_dim);
    std::vector<double> input(static_cast<std::size_t>(tensor.shape.back()));
    std::int64_t row = 0;
    for (; row < sequence.num_visible && !pool_.StopRequested(); ++row) {
      LoadRow(tensor, sequence.key_row(sequence.visible_key(row)),
              input.data());
      linear.Apply(input.data(), projected.row(row));
    }
    if (bias_row) {
      std::copy_n(bias_row->row(0), config_.embed_dim, projected.row(row));
    }
    return projected;  // the row of zeros, if any, is zero already
  }

  // context = concat_h softmax(q_h K_h^T / sqrt(D) + M) V_h for one row.
  void AttendRow(const Sequence& sequence, std::int64_t i, const Row& row) {
    const std::int64_t head_dim = config_.head_dim();
    const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
    const auto columns = static_cast<std::size_t>(sequence.num_columns());
    scores_.resize(columns);
    average_.assign(columns, 0.0);
    average_hidden_ = 0.0;
    for (std::int64_t h = 0; h < config_.num_heads; ++h) {
      const std::int64_t first = h * head_dim;
      masks_.Read(sequence, h, i, scores_.data());
      for (std::size_t k = 0; k < columns; ++k) {
        const double* key = row.keys.row(static_cast<std::int64_t>(k)) + first;
        scores_[k] += scale * Dot(row.query + first, key, head_dim);
      }
      const double hidden = Normalize(sequence);
      if (dropout_.active()) dropout_.Apply(sequence, h, i, scores_.data());
      SumValues(row, first, hidden);
      if (batch_.need_weights) KeepWeights(sequence, h, i, hidden);
    }
  }

  // Turn scores_ into weights; return the weight of hidden columns, which is
  // that of the others where the row sees nothing.
  double Normalize(const Sequence& sequence) {
    const double masked_weight = batch_.masked_rows_are_nan
                                     ? std::numeric_limits<double>::quiet_NaN()
                                     : 0.0;
    const bool masked = Softmax(masked_weight, scores_);
    // Without any key at all there is nothing that could be masked.
    const bool has_keys = sequence.key_length + sequence.appended_keys > 0;
    return masked && has_keys ? masked_weight : 0.0;
  }

  void SumValues(const Row& row, std::int64_t first, double start) const {
    double* context = row.context + first;
    std::fill_n(context, config_.head_dim(), start);
    for (std::size_t k = 0; k < scores_.size(); ++k) {
      const double* value =
          row.values.row(static_cast<std::int64_t>(k)) + first;
      for (std::int64_t d = 0; d < config_.head_dim(); ++d) {
        context[d] += scores_[k] * value[d];
      }
    }
  }

  // Put scores_, now weights, where the caller wants them.
  void KeepWeights(const Sequence& sequence, std::int64_t head, std::int64_t i,
                   double hidden) {
    const std::int64_t num_heads = config_.num_heads;
    const bool average = batch_.average_attn_weights;
    for (std::size_t k = 0; k < scores_.size(); ++k) {
      average_[k] = (average ? average_[k] : 0.0) + scores_[k];
    }
    average_hidden_ = (average ? average_hidden_ : 0.0) + hidden;
    if (average && head + 1 < num_heads) return;
    const double divisor = average ? static_cast<double>(num_heads) : 1.0;
    std::vector<double> line(static_cast<std::size_t>(batch_.weight_columns()),
                             average_hidden_ / divisor);
    for (std::size_t k = 0; k < average_.size(); ++k) {
      const std::int64_t column =
          batch_.weight_column(sequence, static_cast<std::int64_t>(k));
      line[static_cast<std::size_t>(column)] = average_[k] / divisor;
    }
    const std::int64_t matrix =
        average ? sequence.index : sequence.index * num_heads + head;
    StoreRow(line.data(), matrix * batch_.max_query_length + i,
             *outputs_.weights);
  }

  const MultiHeadAttentionConfig& config_;
  const PackedBatch& batch_;
  const AttentionOutputs& outputs_;
  const ComputePool& pool_;
  const Linear query_, key_, value_, output_;
  std::optional<Matrix> bias_k_, bias_v_;
  MaskReader<double> masks_;
  DropoutMask dropout_;
  std::vector<double> scores_, average_;  // [columns]
  double average_hidden_ = 0.0;           // of hidden columns
};

class ReferenceAttention final : public MultiHeadAttention {
 public:
  ReferenceAttention(const MultiHeadAttentionConfig& config,
                     std::shared_ptr<const AttentionWeights> weights)
      : config_(config), weights_(std::move(weights)) {}

  std::string_view implementation() const override { return "reference"; }
  DataType compute_dtype() const override { return DataType::kFloat64; }
  std::size_t memory_bytes() const override { return weights_->num_bytes(); }

  std::size_t ScratchBytes(const PackedBatch& batch,
                           std::size_t /*num_threads*/) const override {
    const auto widest = static_cast<std::size_t>(
        std::max({config_.embed_dim, config_.key_dim(), config_.value_dim()}));
    const auto columns = static_cast<std::size_t>(batch.weight_columns());
    const std::size_t weight_elements =
        weights_->num_bytes() / DataTypeSize(weights_->dtype);
    return sizeof(double) *
               (weight_elements + 4 * columns + 6 * widest +
                2 * columns * static_cast<std::size_t>(config_.embed_dim)) +
           kFixedBytes;
  }

  absl::Status Forward(const PackedBatch& batch,
                       const AttentionOutputs& outputs,
                       ComputePool& pool) const override try {
    if (outputs.weights) {
      // Rows behind a ragged sequence's end are zeros.
      std::fill_n(outputs.weights->data, outputs.weights->num_bytes(),
                  std::byte{0});
    }
    ReferencePass pass(config_, *weights_, batch, outputs, pool);
    for (const Sequence& sequence : batch.sequences) {
      if (!pass.Compute(sequence)) return absl::CancelledError("stopped");
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory for scratch");
  }

 private:
  MultiHeadAttentionConfig config_;
  std::shared_ptr<const AttentionWeights> weights_;
};

}  // namespace

std::unique_ptr<MultiHeadAttention> MakeReferenceAttention(
    const MultiHeadAttentionConfig& config,
    std::shared_ptr<const AttentionWeights> weights) {
  return std::make_unique<ReferenceAttention>(config, std::move(weights));
}

}  // namespace attention
