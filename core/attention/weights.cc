// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weights.h"

#include <algorithm>
#include <format>
#include <utility>

#include "core/tensor/convert.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

// Finds a module's tensors by their expected names and copies them out.
class WeightReader {
 public:
  WeightReader(const NamedTensors& tensors, std::string_view prefix,
               DataType dtype)
      : tensors_(tensors), prefix_(prefix), dtype_(dtype) {}

  // Copy rows [first, first + rows) of the named tensor, as `shape`.
  [[nodiscard]] Tensor Slice(std::string_view name, std::int64_t first,
                             const Shape& shape) const {
    const TensorView& stored =
        tensors_.find(std::string(prefix_).append(name))->second;
    const auto count = static_cast<std::size_t>(shape.num_elements());
    const std::int64_t row_elements =
        shape.rank() == 2 ? shape.dim(1) : std::int64_t{1};
    const std::byte* source =
        stored.data + static_cast<std::size_t>(first * row_elements) *
                          DataTypeSize(stored.dtype);
    if (stored.dtype == dtype_) {
      return Tensor::Copy({source, dtype_, shape});
    }
    Tensor widened(DataType::kFloat64, shape);
    LoadReals(stored.dtype, source, count, widened.data<double>().data());
    Tensor converted(dtype_, shape);
    StoreReals(widened.data<double>().data(), count, dtype_,
               converted.mutable_view().data);
    return converted;
  }

 private:
  const NamedTensors& tensors_;
  std::string_view prefix_;
  DataType dtype_;
};

std::size_t NumBytes(const LinearWeights& linear) {
  return linear.weight.num_bytes() +
         (linear.bias ? linear.bias->num_bytes() : 0);
}

absl::Status CheckTensor(const WeightSpec& spec, const NamedTensors& tensors,
                         std::string_view prefix) {
  const std::string name = std::string(prefix).append(spec.name);
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    return absl::InvalidArgumentError(
        std::format("weights: tensor \"{}\" of shape {} is missing", name,
                    spec.shape.ToString()));
  }
  const TensorView& tensor = found->second;
  if (!(tensor.shape == spec.shape)) {
    return absl::InvalidArgumentError(
        std::format("weights: tensor \"{}\": expected shape {}, got {}", name,
                    spec.shape.ToString(), tensor.shape.ToString()));
  }
  if (!IsFloating(tensor.dtype)) {
    return absl::InvalidArgumentError(
        std::format("weights: tensor \"{}\": expected a floating dtype, got {}",
                    name, DataTypeName(tensor.dtype)));
  }
  return absl::OkStatus();
}

absl::Status CheckNothingUnexpected(const std::vector<WeightSpec>& specs,
                                    const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    const bool expected =
        std::ranges::any_of(specs, [&wanted = name](const WeightSpec& spec) {
          return spec.name == wanted;
        });
    if (!expected) {
      return absl::InvalidArgumentError(std::format(
          "weights: tensor \"{:.128}\" of shape {} does not belong to a module "
          "of this config",
          name, tensor.shape.ToString()));
    }
  }
  return absl::OkStatus();
}

// The one dtype of all stored tensors, or config.dtype.
absl::StatusOr<DataType> ParameterDtype(const MultiHeadAttentionConfig& config,
                                        const std::vector<WeightSpec>& specs,
                                        const NamedTensors& tensors,
                                        std::string_view prefix) {
  if (config.dtype) return *config.dtype;
  const auto dtype_of = [&](const WeightSpec& spec) {
    return tensors.find(std::string(prefix).append(spec.name))->second.dtype;
  };
  const DataType first = dtype_of(specs.front());
  for (const WeightSpec& spec : specs) {
    if (dtype_of(spec) != first) {
      return absl::InvalidArgumentError(std::format(
          "weights: tensor \"{}\" is {} but \"{}\" is {}; expected one dtype, "
          "or a config with dtype set",
          spec.name, DataTypeName(dtype_of(spec)), specs.front().name,
          DataTypeName(first)));
    }
  }
  return first;
}

// The q, k and v projections, from either form of in_proj.
void CollectInputProjections(const MultiHeadAttentionConfig& config,
                             const WeightReader& reader,
                             AttentionWeights& weights) {
  const std::int64_t embed_dim = config.embed_dim;
  struct Part {
    LinearWeights& linear;
    std::string_view separate_name;
    std::int64_t width;
  };
  const Part parts[] = {
      {weights.query, "q_proj_weight", embed_dim},
      {weights.key, "k_proj_weight", config.key_dim()},
      {weights.value, "v_proj_weight", config.value_dim()},
  };
  std::int64_t first = 0;
  for (const Part& part : parts) {
    const Shape shape = {embed_dim, part.width};
    part.linear.weight = config.packed_in_proj()
                             ? reader.Slice("in_proj_weight", first, shape)
                             : reader.Slice(part.separate_name, 0, shape);
    if (config.bias) {
      part.linear.bias = reader.Slice("in_proj_bias", first, {embed_dim});
    }
    first += embed_dim;
  }
}

}  // namespace

std::size_t AttentionWeights::num_bytes() const {
  return NumBytes(query) + NumBytes(key) + NumBytes(value) + NumBytes(output) +
         (bias_k ? bias_k->num_bytes() : 0) +
         (bias_v ? bias_v->num_bytes() : 0);
}

std::vector<WeightSpec> ExpectedWeights(
    const MultiHeadAttentionConfig& config) {
  const std::int64_t embed_dim = config.embed_dim;
  std::vector<WeightSpec> specs;
  if (config.packed_in_proj()) {
    specs.push_back({"in_proj_weight", {3 * embed_dim, embed_dim}});
  } else {
    specs.push_back({"q_proj_weight", {embed_dim, embed_dim}});
    specs.push_back({"k_proj_weight", {embed_dim, config.key_dim()}});
    specs.push_back({"v_proj_weight", {embed_dim, config.value_dim()}});
  }
  if (config.bias) specs.push_back({"in_proj_bias", {3 * embed_dim}});
  if (config.add_bias_kv) {
    specs.push_back({"bias_k", {1, 1, embed_dim}});
    specs.push_back({"bias_v", {1, 1, embed_dim}});
  }
  specs.push_back({"out_proj.weight", {embed_dim, embed_dim}});
  if (config.bias) specs.push_back({"out_proj.bias", {embed_dim}});
  return specs;
}

absl::StatusOr<AttentionWeights> CollectWeights(
    const MultiHeadAttentionConfig& config, const NamedTensors& tensors,
    std::string_view prefix) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  const std::vector<WeightSpec> specs = ExpectedWeights(config);
  for (const WeightSpec& spec : specs) {
    ATTENTION_RETURN_IF_ERROR(CheckTensor(spec, tensors, prefix));
  }
  if (prefix.empty()) {
    ATTENTION_RETURN_IF_ERROR(CheckNothingUnexpected(specs, tensors));
  }
  AttentionWeights weights;
  ATTENTION_ASSIGN_OR_RETURN(weights.dtype,
                             ParameterDtype(config, specs, tensors, prefix));
  const WeightReader reader(tensors, prefix, weights.dtype);
  const Shape vector = {config.embed_dim};
  CollectInputProjections(config, reader, weights);
  weights.output.weight =
      reader.Slice("out_proj.weight", 0, {config.embed_dim, config.embed_dim});
  if (config.bias) {
    weights.output.bias = reader.Slice("out_proj.bias", 0, vector);
  }
  if (config.add_bias_kv) {
    weights.bias_k = reader.Slice("bias_k", 0, vector);
    weights.bias_v = reader.Slice("bias_v", 0, vector);
  }
  return weights;
}

}  // namespace attention
