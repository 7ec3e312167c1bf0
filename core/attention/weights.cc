// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weights.h"

#include <algorithm>
#include <format>
#include <set>
#include <span>
#include <utility>

#include "core/attention/weight_table.h"
#include "core/tensor/convert.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

std::vector<std::string_view> Components(std::string_view name) {
  std::vector<std::string_view> components;
  for (;;) {
    const std::size_t dot = name.find('.');
    components.push_back(name.substr(0, dot));
    if (dot == std::string_view::npos) return components;
    name.remove_prefix(dot + 1);
  }
}

std::string Join(std::span<const std::string_view> components) {
  std::string joined;
  for (const std::string_view component : components) {
    if (!joined.empty()) joined += '.';
    joined += component;
  }
  return joined;
}

// Name in the file of the tensor a module calls `name`.
std::string NameIn(const WeightSource& source, std::string_view name) {
  if (source.renamed.empty()) return source.prefix + std::string(name);
  const std::vector<std::string_view> components = Components(name);
  std::span<const std::string_view> left(components);
  std::vector<std::string_view> renamed;
  while (!left.empty()) {
    std::size_t length = left.size();
    auto found = source.renamed.end();
    for (; length > 0; --length) {
      found = source.renamed.find(Join(left.first(length)));
      if (found != source.renamed.end()) break;
    }
    const bool hit = found != source.renamed.end();
    renamed.push_back(hit ? std::string_view(found->second) : left.front());
    left = left.subspan(hit ? length : 1);
  }
  return source.prefix + Join(renamed);
}

// Shape in the file of a tensor of this shape.
Shape ShapeIn(const WeightSource& source, const Shape& shape) {
  if (!source.transposed || shape.rank() != 2) return shape;
  return {shape.dim(1), shape.dim(0)};
}

absl::Status Invalid(std::string text) {
  return absl::InvalidArgumentError(text);
}

// That names of the source have a decent number and length.
absl::Status CheckSource(const WeightSource& source) {
  if (source.renamed.size() > WeightSource::kMaxRenamed) {
    return Invalid(std::format("renamed weights: expected at most {}, got {}",
                               WeightSource::kMaxRenamed,
                               source.renamed.size()));
  }
  const auto fits = [](std::string_view name) {
    return name.size() <= WeightSource::kMaxNameBytes;
  };
  if (!fits(source.prefix)) {
    return Invalid(std::format("prefix: expected at most {} bytes, got {}",
                               WeightSource::kMaxNameBytes,
                               source.prefix.size()));
  }
  for (const auto& [name, stored] : source.renamed) {
    if (!name.empty() && !stored.empty() && fits(name) && fits(stored)) {
      continue;
    }
    return Invalid(
        std::format("renamed weights: expected names of 1 to {} bytes, got "
                    "\"{:.64}\" for \"{:.64}\"",
                    WeightSource::kMaxNameBytes, stored, name));
  }
  return absl::OkStatus();
}

absl::Status CheckTensor(const WeightSpec& spec, const NamedTensors& tensors) {
  const auto found = tensors.find(spec.name);
  if (found == tensors.end()) {
    return absl::InvalidArgumentError(
        std::format("weights: tensor \"{:.256}\" of shape {} is missing",
                    spec.name, spec.shape.ToString()));
  }
  const TensorView& tensor = found->second;
  if (!(tensor.shape == spec.shape)) {
    return absl::InvalidArgumentError(
        std::format("weights: tensor \"{:.256}\": expected shape {}, got {}",
                    spec.name, spec.shape.ToString(), tensor.shape.ToString()));
  }
  if (!IsFloating(tensor.dtype)) {
    return absl::InvalidArgumentError(std::format(
        "weights: tensor \"{:.256}\": expected a floating dtype, got {}",
        spec.name, DataTypeName(tensor.dtype)));
  }
  return absl::OkStatus();
}

// Every tensor inside the prefix is the module's.
absl::Status CheckNothingUnexpected(const std::vector<WeightSpec>& specs,
                                    std::string_view prefix,
                                    const NamedTensors& tensors) {
  std::set<std::string_view> names;
  for (const WeightSpec& spec : specs) names.insert(spec.name);
  for (auto tensor = tensors.lower_bound(prefix);
       tensor != tensors.end() && tensor->first.starts_with(prefix); ++tensor) {
    if (names.contains(tensor->first)) continue;
    return Invalid(std::format(
        "weights: tensor \"{:.256}\" of shape {} does not belong to a module "
        "of this config",
        tensor->first, tensor->second.shape.ToString()));
  }
  return absl::OkStatus();
}

// The one dtype of all tensors, or the one the config wants.
absl::StatusOr<DataType> ParameterDtype(const ModuleConfig& config,
                                        const NamedTensors& tensors) {
  if (const auto wanted = WantedDtype(config)) return *wanted;
  if (tensors.empty()) return DataType::kFloat32;
  const auto& [first_name, first] = *tensors.begin();
  for (const auto& [name, tensor] : tensors) {
    if (tensor.dtype == first.dtype) continue;
    return absl::InvalidArgumentError(
        std::format("weights: tensor \"{:.256}\" is {} but \"{:.256}\" is {}; "
                    "expected one dtype, "
                    "or a config with dtype set",
                    name, DataTypeName(tensor.dtype), first_name,
                    DataTypeName(first.dtype)));
  }
  return first.dtype;
}

// Copy a matrix, [columns, rows] in the file, as [rows, columns].
Tensor Transpose(const TensorView& stored) {
  const auto rows = static_cast<std::size_t>(stored.shape.dim(1));
  const auto columns = static_cast<std::size_t>(stored.shape.dim(0));
  const std::size_t size = DataTypeSize(stored.dtype);
  Tensor transposed(stored.dtype, {stored.shape.dim(1), stored.shape.dim(0)});
  std::byte* to = transposed.mutable_view().data;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j, to += size) {
      std::copy_n(stored.data + (j * rows + i) * size, size, to);
    }
  }
  return transposed;
}

// Copy elements as a tensor of `dtype`.
Tensor Convert(const TensorView& stored, DataType dtype) {
  if (stored.dtype == dtype) return Tensor::Copy(stored);
  const auto count = static_cast<std::size_t>(stored.shape.num_elements());
  Tensor widened(DataType::kFloat64, stored.shape);
  LoadReals(stored.dtype, stored.data, count, widened.data<double>().data());
  Tensor converted(dtype, stored.shape);
  StoreReals(widened.data<double>().data(), count, dtype,
             converted.mutable_view().data);
  return converted;
}

// Cut a stored tensor into a row's parts.
void Collect(TensorView stored, const WeightTableRow& row, DataType dtype) {
  const std::size_t part_bytes =
      stored.num_bytes() / std::max<std::size_t>(row.parts.size(), 1);
  for (Tensor* part : row.parts) {
    *part = Convert({stored.data, stored.dtype, row.part_shape}, dtype);
    stored.data += part_bytes;
  }
}

}  // namespace

std::vector<WeightSpec> ExpectedWeights(const ModuleConfig& config) {
  ModuleWeights weights;
  std::vector<WeightSpec> specs;
  for (WeightTableRow& row : MakeWeightTable(config, weights)) {
    specs.push_back({std::move(row.name), row.shape});
  }
  return specs;
}

absl::StatusOr<std::vector<WeightSpec>> ExpectedWeightsIn(
    const ModuleConfig& config, const WeightSource& source) {
  ATTENTION_RETURN_IF_ERROR(CheckSource(source));
  std::vector<WeightSpec> specs = ExpectedWeights(config);
  std::set<std::string_view> names;
  for (WeightSpec& spec : specs) {
    spec = {NameIn(source, spec.name), ShapeIn(source, spec.shape)};
    if (spec.name.size() > WeightSource::kMaxNameBytes) {
      return Invalid(std::format(
          "weights: tensor \"{:.64}...\": expected a name of at most {} bytes, "
          "got {}",
          spec.name, WeightSource::kMaxNameBytes, spec.name.size()));
    }
    if (!names.insert(spec.name).second) {
      return Invalid(
          std::format("renamed weights: expected a name of its own for each "
                      "tensor, got \"{:.256}\" for two",
                      spec.name));
    }
  }
  return specs;
}

absl::StatusOr<SelectedWeights> SelectWeights(const ModuleConfig& config,
                                              const NamedTensors& tensors,
                                              const WeightSource& source) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  const std::vector<WeightSpec> own = ExpectedWeights(config);
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<WeightSpec> stored,
                             ExpectedWeightsIn(config, source));
  for (const WeightSpec& spec : stored) {
    ATTENTION_RETURN_IF_ERROR(CheckTensor(spec, tensors));
  }
  ATTENTION_RETURN_IF_ERROR(
      CheckNothingUnexpected(stored, source.prefix, tensors));
  SelectedWeights selected;
  for (std::size_t i = 0; i < own.size(); ++i) {
    TensorView view = tensors.find(stored[i].name)->second;
    if (source.transposed && view.shape.rank() == 2) {
      view = selected.transposed.emplace_back(Transpose(view)).view();
    }
    selected.tensors.emplace(own[i].name, view);
  }
  return selected;
}

absl::StatusOr<ModuleWeights> CollectWeights(const ModuleConfig& config,
                                             const NamedTensors& tensors,
                                             const WeightSource& source) {
  ATTENTION_ASSIGN_OR_RETURN(const SelectedWeights selected,
                             SelectWeights(config, tensors, source));
  ModuleWeights weights;
  ATTENTION_ASSIGN_OR_RETURN(weights.dtype,
                             ParameterDtype(config, selected.tensors));
  ATTENTION_RETURN_IF_ERROR(
      CheckComputable(ComputeDtype(config), weights.dtype));
  for (const WeightTableRow& row : MakeWeightTable(config, weights)) {
    Collect(selected.tensors.find(row.name)->second, row, weights.dtype);
    weights.num_bytes += static_cast<std::size_t>(row.shape.num_elements()) *
                         DataTypeSize(weights.dtype);
  }
  return weights;
}

std::vector<StoredWeight> ListWeights(const ModuleConfig& config,
                                      const ModuleWeights& weights) {
  std::vector<StoredWeight> listed;
  // Weights of this config have all the room the table asks for, so that
  // nothing is written to them.
  for (WeightTableRow& row :
       MakeWeightTable(config, const_cast<ModuleWeights&>(weights))) {
    listed.push_back({{std::move(row.name), row.shape},
                      {row.parts.begin(), row.parts.end()}});
  }
  return listed;
}

}  // namespace attention
