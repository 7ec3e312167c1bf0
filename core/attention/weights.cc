// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weights.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/attention/weight_source.h"
#include "core/attention/weight_table.h"
#include "core/tensor/convert.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

absl::Status Invalid(std::string text) {
  return absl::InvalidArgumentError(text);
}

// Whether a tensor of this name is there, of whatever dtype.
bool Has(const NamedTensors& tensors, const ForeignTensors& foreign,
         std::string_view name) {
  return tensors.contains(name) || foreign.contains(name);
}

absl::Status CheckTensor(const LocatedWeight& weight,
                         const NamedTensors& tensors) {
  const WeightSpec& spec = weight.stored;
  const auto found = tensors.find(spec.name);
  if (found == tensors.end()) {
    std::string text =
        FormatText("weights: tensor \"{:.256}\" of shape {} is missing",
                   spec.name, spec.shape.ToString());
    if (IsBias(weight.own.name)) {
      text +=
          FormatText("; if it is zero, name \"{}\" in weight_names.zero_biases",
                     weight.own.name);
    }
    return Invalid(std::move(text));
  }
  const TensorView& tensor = found->second;
  if (!(tensor.shape == spec.shape)) {
    return Invalid(
        FormatText("weights: tensor \"{:.256}\": expected shape {}, got {}",
                   spec.name, spec.shape.ToString(), tensor.shape.ToString()));
  }
  if (!IsFloating(tensor.dtype)) {
    return Invalid(FormatText(
        "weights: tensor \"{:.256}\": expected a floating dtype, got {}",
        spec.name, DataTypeName(tensor.dtype)));
  }
  return absl::OkStatus();
}

// Every tensor inside the prefix is the module's or ignored.
absl::Status CheckNothingUnexpected(const std::vector<LocatedWeight>& weights,
                                    const WeightSource& source,
                                    const NamedTensors& tensors) {
  std::set<std::string_view> names;
  for (const LocatedWeight& weight : weights) names.insert(weight.stored.name);
  const std::string& prefix = source.prefix;
  for (auto tensor = tensors.lower_bound(prefix);
       tensor != tensors.end() && tensor->first.starts_with(prefix); ++tensor) {
    const auto& [name, view] = *tensor;
    if (names.contains(name) || source.Ignores(name)) continue;
    return Invalid(FormatText(
        "weights: tensor \"{:.256}\" of shape {} does not belong to a module "
        "of this config; give the weights_prefix of those that do, or name "
        "\"{:.256}\" in weight_names.ignored",
        name, view.shape.ToString(), name.substr(prefix.size())));
  }
  return absl::OkStatus();
}

// Whether a name, or one that continues it by whole components, is there.
template <typename Named>
bool HasRun(const Named& named, const std::string& name) {
  if (named.contains(name)) return true;
  const auto next = named.lower_bound(name + ".");
  return next != named.end() && next->first.starts_with(name + ".");
}

// What is ignored is there, so that a misspelt name does not pass for one.
absl::Status CheckIgnored(const WeightSource& source,
                          const NamedTensors& tensors,
                          const ForeignTensors& foreign) {
  for (const std::string& name : source.ignored) {
    const std::string stored = source.prefix + name;
    if (HasRun(tensors, stored) || HasRun(foreign, stored)) continue;
    return Invalid(
        FormatText("ignored weights: no tensor is called \"{:.256}\"", stored));
  }
  return absl::OkStatus();
}

// The zero biases, in the dtype of the tensors selected.
void AddZeroBiases(const std::vector<LocatedWeight>& weights,
                   SelectedWeights* selected) {
  const DataType dtype = selected->tensors.empty()
                             ? DataType::kFloat32
                             : selected->tensors.begin()->second.dtype;
  for (const LocatedWeight& weight : weights) {
    if (!weight.is_zero) continue;
    Tensor zeros(dtype, weight.own.shape);
    const MutableTensorView view = zeros.mutable_view();
    std::fill_n(view.data, zeros.num_bytes(), std::byte{0});
    selected->tensors.emplace(weight.own.name, zeros.view());
    selected->made.push_back(std::move(zeros));
  }
}

// The one dtype of all tensors, or the one the config wants.
absl::StatusOr<DataType> ParameterDtype(const ModuleConfig& config,
                                        const NamedTensors& tensors) {
  if (const auto wanted = WantedDtype(config)) return *wanted;
  if (tensors.empty()) return DataType::kFloat32;
  const auto& [first_name, first] = *tensors.begin();
  for (const auto& [name, tensor] : tensors) {
    if (tensor.dtype == first.dtype) continue;
    return Invalid(
        FormatText("weights: tensor \"{:.256}\" is {} but \"{:.256}\" is {}; "
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

absl::StatusOr<SelectedWeights> SelectWeights(const ModuleConfig& config,
                                              const NamedTensors& tensors,
                                              const WeightSource& source,
                                              const ForeignTensors& foreign) {
  ATTENTION_RETURN_IF_ERROR(ValidateConfig(config));
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<LocatedWeight> weights,
                             LocateWeights(config, source));
  SelectedWeights selected;
  for (const LocatedWeight& weight : weights) {
    if (weight.is_zero) {
      if (!Has(tensors, foreign, weight.stored.name)) continue;
      return Invalid(FormatText("zero biases: tensor \"{:.256}\" is there",
                                weight.stored.name));
    }
    ATTENTION_RETURN_IF_ERROR(CheckTensor(weight, tensors));
  }
  ATTENTION_RETURN_IF_ERROR(CheckNothingUnexpected(weights, source, tensors));
  ATTENTION_RETURN_IF_ERROR(CheckIgnored(source, tensors, foreign));
  for (const LocatedWeight& weight : weights) {
    if (weight.is_zero) continue;
    TensorView view = tensors.find(weight.stored.name)->second;
    if (source.transposed && view.shape.rank() == 2) {
      view = selected.made.emplace_back(Transpose(view)).view();
    }
    selected.tensors.emplace(weight.own.name, view);
  }
  AddZeroBiases(weights, &selected);
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
