// SPDX-License-Identifier: Apache-2.0
#include "core/reference/reference_implementation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <new>
#include <numbers>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/dropout.h"
#include "core/reference/reference_attention.h"
#include "core/reference/reference_linear.h"

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
  // `sequences` have their rows one after the other in `x` of Compute.
  EncoderLayer(const ModuleSpec& model, const LayerWeights& weights,
               std::span<const Sequence> sequences, std::uint32_t layer)
      : spec_(model.attention),
        encoder_(*model.encoder),
        weights_(weights),
        sequences_(sequences),
        layer_(layer),
        norm1_(weights.norm1, encoder_.norm_eps),
        norm2_(weights.norm2, encoder_.norm_eps),
        linear1_(weights.linear1),
        linear2_(weights.linear2) {}

  // `x` [rows, E] becomes the layer's output.
  void Compute(Matrix& x) {
    Matrix attended = x;
    if (encoder_.norm_first) ForEachRow(norm1_, attended);
    Attend(attended);
    Drop(DropoutSite::kAttention, attended);
    Add(attended, x);
    if (!encoder_.norm_first) ForEachRow(norm1_, x);

    Matrix fed = x;
    if (encoder_.norm_first) ForEachRow(norm2_, fed);
    FeedForward(fed);
    Drop(DropoutSite::kFeedForward, fed);
    Add(fed, x);
    if (!encoder_.norm_first) ForEachRow(norm2_, x);
  }

  static void ForEachRow(const Norm& norm, Matrix& x) {
    for (std::int64_t i = 0; i < x.rows; ++i) {
      norm.Apply({x.row(i), static_cast<std::size_t>(x.columns)});
    }
  }

 private:
  void Attend(Matrix& x) {
    const Matrix input = x;
    std::vector<Sequence> placed(sequences_.size());
    PlaceSequences(sequences_,
                   RowsOfMatrix(input.elements.data(), input.columns),
                   RowsOfMatrix(x.elements.data(), x.columns), placed);
    ComputeReferenceAttention(spec_, weights_.attention, placed, layer_);
  }

  // Call `visit(sequence, position, elements)` for every row of `x`.
  template <typename Visit>
  void ForEachPlace(Matrix& x, const Visit& visit) const {
    double* row = x.elements.data();
    for (const Sequence& sequence : sequences_) {
      for (std::int64_t i = 0; i < sequence.query_length; ++i) {
        visit(sequence, i, std::span(row, static_cast<std::size_t>(x.columns)));
        row += x.columns;
      }
    }
  }

  void FeedForward(Matrix& x) const {
    Matrix inner(1, encoder_.feed_forward_dim);
    ForEachPlace(x, [&](const Sequence& sequence, std::int64_t i,
                        std::span<double> row) {
      if (sequence.request->StopRequested()) return;
      linear1_.Apply(row.data(), inner.row(0));
      for (double& y : inner.elements) y = Activate(encoder_.activation, y);
      if (encoder_.drops_activation) {
        Drop(DropoutSite::kActivation, sequence, i, std::span(inner.elements));
      }
      linear2_.Apply(inner.row(0), row.data());
    });
  }

  void Drop(DropoutSite site, Matrix& x) const {
    ForEachPlace(x,
                 [&](const Sequence& sequence, std::int64_t i,
                     std::span<double> row) { Drop(site, sequence, i, row); });
  }
  void Drop(DropoutSite site, const Sequence& sequence, std::int64_t position,
            std::span<double> elements) const {
    const DropoutMask dropout(*sequence.request, layer_, site);
    if (dropout.active()) dropout.ApplyToRow(sequence, position, elements);
  }

  static void Add(const Matrix& from, Matrix& to) {
    for (std::size_t j = 0; j < to.elements.size(); ++j) {
      to.elements[j] += from.elements[j];
    }
  }

  const AttentionSpec& spec_;
  const EncoderSpec& encoder_;
  const LayerWeights& weights_;
  std::span<const Sequence> sequences_;
  const std::uint32_t layer_;
  const Norm norm1_, norm2_;
  const Linear linear1_, linear2_;
};

class ReferenceImplementation final : public ModuleImplementation {
 public:
  ReferenceImplementation(const ModuleConfig& config,
                          std::shared_ptr<const WeightStore> weights)
      : spec_(SpecOf(config)), weights_(std::move(weights)) {
    for (const WeightSpec& weight : ExpectedWeights(config)) {
      num_elements_ += static_cast<std::size_t>(weight.shape.num_elements());
    }
  }

  std::string_view name() const override { return "reference"; }
  DataType compute_dtype() const override { return DataType::kFloat64; }
  std::size_t memory_bytes() const override { return weights_->memory_bytes(); }

  std::size_t ScratchBytes(std::span<const Sequence> sequences,
                           std::size_t /*num_threads*/) const override {
    // A layer's weights as the store gives them out, and in double.
    const std::size_t layer_elements =
        num_elements_ / static_cast<std::size_t>(spec_.num_layers) + 1;
    std::size_t num_bytes =
        2 * sizeof(double) * layer_elements +
        ReferenceAttentionBytes(spec_.attention, sequences) + kFixedBytes;
    if (spec_.encoder) {
      // x, its copy, and the copy attention reads; the placed sequences.
      const auto elements = static_cast<std::size_t>(NumQueryRows(sequences) *
                                                     spec_.attention.query_dim);
      num_bytes += sizeof(double) *
                       (3 * elements + static_cast<std::size_t>(
                                           spec_.encoder->feed_forward_dim +
                                           spec_.attention.output_width())) +
                   sequences.size() * sizeof(Sequence);
    }
    return num_bytes;
  }

  absl::Status Forward(std::span<const Sequence> sequences,
                       ComputePool& /*pool*/) const override try {
    if (spec_.encoder) {
      ComputeEncoder(sequences);
    } else {
      const LayerWeights layer = weights_->Layer(0);
      ComputeReferenceAttention(spec_.attention, layer.attention, sequences,
                                /*layer=*/0);
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory for scratch");
  } catch (const std::exception&) {
    return absl::InternalError("the forward pass failed");
  }

 private:
  void ComputeEncoder(std::span<const Sequence> sequences) const {
    const std::int64_t width = spec_.attention.query_dim;
    Matrix x(NumQueryRows(sequences), width);
    double* row = x.elements.data();
    for (const Sequence& sequence : sequences) {
      for (std::int64_t i = 0; i < sequence.query_length; ++i, row += width) {
        ReadRow(sequence.query, i, width, row);
      }
    }
    for (std::int64_t index = 0; index < spec_.num_layers; ++index) {
      if (std::ranges::all_of(sequences, [](const Sequence& sequence) {
            return sequence.request->StopRequested();
          })) {
        return;
      }
      const LayerWeights layer =
          weights_->Layer(static_cast<std::size_t>(index));
      EncoderLayer(spec_, layer, sequences, static_cast<std::uint32_t>(index))
          .Compute(x);
    }
    if (const auto norm = weights_->FinalNorm()) {
      EncoderLayer::ForEachRow(Norm(*norm, *spec_.final_norm_eps), x);
    }
    row = x.elements.data();
    for (const Sequence& sequence : sequences) {
      for (std::int64_t i = 0; i < sequence.query_length; ++i, row += width) {
        WriteRow(row, width, sequence.output, i);
      }
    }
  }

  ModuleSpec spec_;
  std::shared_ptr<const WeightStore> weights_;
  std::size_t num_elements_ = 0;  // of all weights
};

}  // namespace

std::unique_ptr<ModuleImplementation> MakeReferenceImplementation(
    const ModuleConfig& config, std::shared_ptr<const WeightStore> weights) {
  return std::make_unique<ReferenceImplementation>(config, std::move(weights));
}

}  // namespace attention
