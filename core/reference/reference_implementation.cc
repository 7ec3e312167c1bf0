// SPDX-License-Identifier: Apache-2.0
#include "core/reference/reference_implementation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <new>
#include <numbers>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/dropout.h"
#include "core/reference/reference_attention.h"
#include "core/reference/reference_linear.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Bound on the small objects of a pass.
constexpr std::size_t kFixedBytes = 4096;

// y = (x - mean) / sqrt(variance + eps) * weight + bias, in place. The variance
// is the biased one. Source: torch.nn.LayerNorm.
class Norm {
 public:
  Norm(const NormWeights& weights, double epsilon)
      : weight_(ToMatrix(weights.weight)), epsilon_(epsilon) {
    if (weights.bias) bias_ = ToMatrix(*weights.bias);
  }

  void Apply(std::span<double> row) const {
    const auto count = static_cast<double>(row.size());
    double mean = 0.0;
    for (const double x : row) mean += x / count;
    double variance = 0.0;
    for (const double x : row) variance += (x - mean) * (x - mean) / count;
    const double scale = 1.0 / std::sqrt(variance + epsilon_);
    for (std::size_t j = 0; j < row.size(); ++j) {
      row[j] = (row[j] - mean) * scale * weight_.elements[j] +
               (bias_ ? bias_->elements[j] : 0.0);
    }
  }

 private:
  Matrix weight_;
  std::optional<Matrix> bias_;
  double epsilon_;
};

double Activate(Activation activation, double x) {
  if (activation == Activation::kGelu) {
    return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
  }
  return x < 0.0 ? 0.0 : x;  // NaN stays NaN
}

// One encoder layer, in place.
class EncoderLayer {
 public:
  EncoderLayer(const ModuleSpec& model, const LayerWeights& weights,
               PackedBatch& batch, const ComputePool& pool)
      : spec_(model.attention),
        encoder_(*model.encoder),
        weights_(weights),
        batch_(batch),
        pool_(pool),
        norm1_(weights.norm1, encoder_.norm_eps),
        norm2_(weights.norm2, encoder_.norm_eps),
        linear1_(weights.linear1),
        linear2_(weights.linear2) {}

  // `x` [rows, E] becomes the layer's output.
  absl::Status Compute(Matrix& x) {
    Matrix attended = x;
    if (encoder_.norm_first) ForEachRow(norm1_, attended);
    ATTENTION_RETURN_IF_ERROR(Attend(attended));
    Drop(DropoutSite::kAttention, attended);
    Add(attended, x);
    if (!encoder_.norm_first) ForEachRow(norm1_, x);

    Matrix fed = x;
    if (encoder_.norm_first) ForEachRow(norm2_, fed);
    ATTENTION_RETURN_IF_ERROR(FeedForward(fed));
    Drop(DropoutSite::kFeedForward, fed);
    Add(fed, x);
    if (!encoder_.norm_first) ForEachRow(norm2_, x);
    return absl::OkStatus();
  }

  static void ForEachRow(const Norm& norm, Matrix& x) {
    for (std::int64_t i = 0; i < x.rows; ++i) {
      norm.Apply({x.row(i), static_cast<std::size_t>(x.columns)});
    }
  }

 private:
  absl::Status Attend(Matrix& x) {
    Matrix input = x;
    const MutableTensorView output = {
        reinterpret_cast<std::byte*>(x.elements.data()), DataType::kFloat64,
        Shape{x.rows, x.columns}};
    batch_.query = {reinterpret_cast<std::byte*>(input.elements.data()),
                    DataType::kFloat64, output.shape};
    batch_.key = batch_.query;
    batch_.value = batch_.query;
    return ComputeReferenceAttention(spec_, weights_.attention, batch_,
                                     {output, std::nullopt}, pool_);
  }

  absl::Status FeedForward(Matrix& x) {
    Matrix inner(1, encoder_.feed_forward_dim);
    const DropoutMask dropout(batch_, DropoutSite::kActivation);
    for (const Sequence& sequence : batch_.sequences) {
      for (std::int64_t i = 0; i < sequence.query_length; ++i) {
        if (pool_.StopRequested()) return absl::CancelledError("stopped");
        double* row = x.row(sequence.query_row(i));
        linear1_.Apply(row, inner.row(0));
        for (double& y : inner.elements) y = Activate(encoder_.activation, y);
        if (encoder_.drops_activation && dropout.active()) {
          dropout.ApplyToRow(sequence, i, std::span(inner.elements));
        }
        linear2_.Apply(inner.row(0), row);
      }
    }
    return absl::OkStatus();
  }

  void Drop(DropoutSite site, Matrix& x) const {
    const DropoutMask dropout(batch_, site);
    if (!dropout.active()) return;
    for (const Sequence& sequence : batch_.sequences) {
      for (std::int64_t i = 0; i < sequence.query_length; ++i) {
        dropout.ApplyToRow(sequence, i,
                           std::span(x.row(sequence.query_row(i)),
                                     static_cast<std::size_t>(x.columns)));
      }
    }
  }

  static void Add(const Matrix& from, Matrix& to) {
    for (std::size_t j = 0; j < to.elements.size(); ++j) {
      to.elements[j] += from.elements[j];
    }
  }

  const AttentionSpec& spec_;
  const EncoderSpec& encoder_;
  const LayerWeights& weights_;
  PackedBatch& batch_;
  const ComputePool& pool_;
  const Norm norm1_, norm2_;
  const Linear linear1_, linear2_;
};

class ReferenceImplementation final : public ModuleImplementation {
 public:
  ReferenceImplementation(const ModuleConfig& config,
                          std::shared_ptr<const ModuleWeights> weights)
      : spec_(SpecOf(config)), weights_(std::move(weights)) {}

  std::string_view name() const override { return "reference"; }
  DataType compute_dtype() const override { return DataType::kFloat64; }
  std::size_t memory_bytes() const override { return weights_->num_bytes; }

  std::size_t ScratchBytes(const PackedBatch& batch,
                           std::size_t /*num_threads*/) const override {
    const std::size_t layer_elements = weights_->num_bytes /
                                       DataTypeSize(weights_->dtype) /
                                       weights_->layers.size();
    std::size_t num_bytes = sizeof(double) * layer_elements +
                            ReferenceAttentionBytes(spec_.attention, batch) +
                            kFixedBytes;
    if (spec_.encoder) {
      // x, its copy, and the copy attention reads; the batch's copy.
      num_bytes +=
          sizeof(double) *
              (3 * static_cast<std::size_t>(batch.query.shape.num_elements()) +
               static_cast<std::size_t>(spec_.encoder->feed_forward_dim +
                                        spec_.attention.output_width())) +
          CopyBytes(batch);
    }
    return num_bytes;
  }

  absl::Status Forward(const PackedBatch& batch,
                       const AttentionOutputs& outputs,
                       ComputePool& pool) const override try {
    return spec_.encoder ? ComputeEncoder(batch, outputs.output, pool)
                         : ComputeReferenceAttention(
                               spec_.attention, weights_->layers[0].attention,
                               batch, outputs, pool);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory for scratch");
  }

 private:
  absl::Status ComputeEncoder(const PackedBatch& batch,
                              const MutableTensorView& output,
                              ComputePool& pool) const {
    PackedBatch layer_batch = batch;
    const std::int64_t width = spec_.attention.query_dim;
    Matrix x(batch.query.shape.num_elements() / width, width);
    LoadReals(batch.query.dtype, batch.query.data, x.elements.size(),
              x.elements.data());
    for (const LayerWeights& layer : weights_->layers) {
      ATTENTION_RETURN_IF_ERROR(
          EncoderLayer(spec_, layer, layer_batch, pool).Compute(x));
      ++layer_batch.layer;
    }
    if (weights_->final_norm) {
      EncoderLayer::ForEachRow(
          Norm(*weights_->final_norm, *spec_.final_norm_eps), x);
    }
    StoreReals(x.elements.data(), x.elements.size(), output.dtype, output.data);
    return absl::OkStatus();
  }

  ModuleSpec spec_;
  std::shared_ptr<const ModuleWeights> weights_;
};

}  // namespace

std::unique_ptr<ModuleImplementation> MakeReferenceImplementation(
    const ModuleConfig& config, std::shared_ptr<const ModuleWeights> weights) {
  return std::make_unique<ReferenceImplementation>(config, std::move(weights));
}

}  // namespace attention
