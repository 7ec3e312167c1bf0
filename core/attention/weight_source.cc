// SPDX-License-Identifier: Apache-2.0
#include "core/attention/weight_source.h"

#include <algorithm>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "core/attention/weight_table.h"
#include "core/tensor/format_text.h"
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

bool Fits(std::string_view name) {
  return !name.empty() && name.size() <= WeightSource::kMaxNameBytes;
}

// That a list of names has a decent number and lengths.
template <typename Entries>
absl::Status CheckNames(std::string_view what, const Entries& entries) {
  if (entries.size() > WeightSource::kMaxEntries) {
    return Invalid(FormatText("{}: expected at most {}, got {}", what,
                              WeightSource::kMaxEntries, entries.size()));
  }
  for (const std::string& name : entries) {
    if (Fits(name)) continue;
    return Invalid(
        FormatText("{}: expected names of 1 to {} bytes, got \"{:.64}\"", what,
                   WeightSource::kMaxNameBytes, name));
  }
  return absl::OkStatus();
}

absl::Status CheckRenamed(const WeightSource& source) {
  if (source.renamed.size() > WeightSource::kMaxEntries) {
    return Invalid(FormatText("renamed weights: expected at most {}, got {}",
                              WeightSource::kMaxEntries,
                              source.renamed.size()));
  }
  for (const auto& [name, stored] : source.renamed) {
    if (Fits(name) && Fits(stored)) continue;
    return Invalid(
        FormatText("renamed weights: expected names of 1 to {} bytes, got "
                   "\"{:.64}\" for \"{:.64}\"",
                   WeightSource::kMaxNameBytes, stored, name));
  }
  return absl::OkStatus();
}

absl::Status CheckSource(const WeightSource& source) {
  if (source.prefix.size() > WeightSource::kMaxNameBytes) {
    return Invalid(FormatText("prefix: expected at most {} bytes, got {}",
                              WeightSource::kMaxNameBytes,
                              source.prefix.size()));
  }
  ATTENTION_RETURN_IF_ERROR(CheckRenamed(source));
  ATTENTION_RETURN_IF_ERROR(CheckNames("zero biases", source.zero_biases));
  return CheckNames("ignored weights", source.ignored);
}

// Every zero bias is a bias of the module.
absl::Status CheckZeroBiases(const WeightSource& source,
                             const std::vector<WeightSpec>& specs) {
  std::set<std::string_view> unknown(source.zero_biases.begin(),
                                     source.zero_biases.end());
  for (const WeightSpec& spec : specs) {
    if (IsBias(spec.name)) unknown.erase(spec.name);
  }
  if (unknown.empty()) return absl::OkStatus();
  return Invalid(
      FormatText("zero biases: a module of this config has no bias \"{:.256}\"",
                 *unknown.begin()));
}

// A weight's place is a name of its own, of a decent length, and not ignored.
absl::Status CheckPlace(const WeightSource& source, const LocatedWeight& weight,
                        std::set<std::string_view>* taken) {
  const std::string& name = weight.stored.name;
  if (name.size() > WeightSource::kMaxNameBytes) {
    return Invalid(FormatText(
        "weights: tensor \"{:.64}...\": expected a name of at most {} bytes, "
        "got {}",
        name, WeightSource::kMaxNameBytes, name.size()));
  }
  if (!taken->insert(name).second) {
    return Invalid(
        FormatText("renamed weights: expected a name of its own for each "
                   "tensor, got \"{:.256}\" for two",
                   name));
  }
  if (weight.is_zero || !source.Ignores(name)) return absl::OkStatus();
  return Invalid(
      FormatText("ignored weights: tensor \"{:.256}\" is the module's \"{}\"",
                 name, weight.own.name));
}

}  // namespace

bool WeightSource::Ignores(std::string_view name) const {
  if (ignored.empty() || !name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  // Each leading run of components, the whole name too.
  for (std::size_t end = 0; end < name.size();) {
    end = std::min(name.find('.', end + 1), name.size());
    if (ignored.contains(name.substr(0, end))) return true;
  }
  return false;
}

bool IsBias(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') + 1);
  return last == "bias" || last == "in_proj_bias";
}

std::vector<WeightSpec> ExpectedWeights(const ModuleConfig& config) {
  ModuleWeights weights;
  std::vector<WeightSpec> specs;
  for (WeightTableRow& row : MakeWeightTable(config, weights)) {
    specs.push_back({std::move(row.name), row.shape});
  }
  return specs;
}

absl::StatusOr<std::vector<LocatedWeight>> LocateWeights(
    const ModuleConfig& config, const WeightSource& source) {
  ATTENTION_RETURN_IF_ERROR(CheckSource(source));
  std::vector<WeightSpec> specs = ExpectedWeights(config);
  ATTENTION_RETURN_IF_ERROR(CheckZeroBiases(source, specs));
  std::vector<LocatedWeight> weights;
  weights.reserve(specs.size());  // the names taken stay where they are
  std::set<std::string_view> taken;
  for (WeightSpec& spec : specs) {
    const bool is_zero = source.zero_biases.contains(spec.name);
    WeightSpec stored = {NameIn(source, spec.name),
                         ShapeIn(source, spec.shape)};
    const LocatedWeight& weight = weights.emplace_back(
        LocatedWeight{std::move(spec), std::move(stored), is_zero});
    ATTENTION_RETURN_IF_ERROR(CheckPlace(source, weight, &taken));
  }
  return weights;
}

absl::StatusOr<std::vector<WeightSpec>> ExpectedWeightsIn(
    const ModuleConfig& config, const WeightSource& source) {
  ATTENTION_ASSIGN_OR_RETURN(std::vector<LocatedWeight> weights,
                             LocateWeights(config, source));
  std::vector<WeightSpec> specs;
  for (LocatedWeight& weight : weights) {
    if (!weight.is_zero) specs.push_back(std::move(weight.stored));
  }
  return specs;
}

}  // namespace attention
