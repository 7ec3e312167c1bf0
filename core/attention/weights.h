// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/attention/config.h"
#include "core/tensor/named_tensors.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Parameters of y = x W^T + b. weight [out, in], bias [out]. No weight: none.
struct LinearWeights {
  Tensor weight;
  std::optional<Tensor> bias;
};

/// Parameters of attention; which of them there are is the AttentionSpec's to
/// say. E is the width of the projections.
struct AttentionWeights {
  LinearWeights query;           ///< [E, query_dim]
  LinearWeights key;             ///< [E, key_dim]
  LinearWeights value;           ///< [E, value_dim]
  LinearWeights output;          ///< [E, E]
  std::optional<Tensor> bias_k;  ///< [E]
  std::optional<Tensor> bias_v;  ///< [E]
};

/// Parameters of a layer normalisation. weight [E], bias [E].
struct NormWeights {
  Tensor weight;
  std::optional<Tensor> bias;
};

/// Parameters of one layer; those behind attention are an encoder's.
struct LayerWeights {
  AttentionWeights attention;
  LinearWeights linear1;  ///< [F, E]
  LinearWeights linear2;  ///< [E, F]
  NormWeights norm1;
  NormWeights norm2;
};

/// Parameters of a module, one dtype throughout.
struct ModuleWeights {
  std::vector<LayerWeights> layers;
  std::optional<NormWeights> final_norm;
  /// Of a module without parameters: float32.
  DataType dtype = DataType::kFloat32;
  std::size_t num_bytes = 0;  ///< of all tensors
};

/// Where in a set of tensors a module's parameters are, and how they lie.
struct WeightSource {
  /// Put before every name. Tensors outside the prefix are ignored; every
  /// tensor inside it must be the module's or in `ignored`.
  std::string prefix = {};
  /// What a run of whole dot-separated components of a name is called instead.
  /// Applied from the left, the longest run first, each component once.
  std::map<std::string, std::string, std::less<>> renamed = {};
  /// Whether matrices are stored (in, out).
  bool transposed = false;
  /// Biases of the module, by its own names, that are not among the tensors and
  /// are zero.
  std::set<std::string, std::less<>> zero_biases = {};
  /// Tensors inside the prefix that are not the module's: their names behind
  /// it, or leading runs of whole components of them.
  std::set<std::string, std::less<>> ignored = {};

  /// Most entries of each list.
  static constexpr std::size_t kMaxEntries = 256;
  /// Longest name of a tensor in a file, in bytes.
  static constexpr std::size_t kMaxNameBytes = 1024;

  /// Whether a tensor is inside the prefix and `ignored`.
  [[nodiscard]] bool Ignores(std::string_view name) const;
};

/// Name and shape of a tensor.
struct WeightSpec {
  std::string name;
  Shape shape;
};

/// List the tensors of a module of this (valid) config, under its own names.
[[nodiscard]] std::vector<WeightSpec> ExpectedWeights(
    const ModuleConfig& config);

/// List them as they must be where `source` says, the zero biases left out.
/// \return INVALID_ARGUMENT when the source is not valid: too many names, or
///   empty, too long or ambiguous ones, a zero bias that is no bias of the
///   module, or a tensor of the module that is ignored.
[[nodiscard]] absl::StatusOr<std::vector<WeightSpec>> ExpectedWeightsIn(
    const ModuleConfig& config, const WeightSource& source);

/// A module's tensors under its own names and as it has them.
struct SelectedWeights {
  NamedTensors tensors;      ///< views of the file's, or of `made`
  std::vector<Tensor> made;  ///< those transposed, and the zero biases
};

/// Find a module's tensors among others.
/// \param foreign more tensors there are, which only `source.ignored` may name.
/// \return INVALID_ARGUMENT when the config or the source is not valid, or when
///   a tensor is missing, unexpected, of another shape or not floating, a zero
///   bias is there, or what is ignored is not.
/// Throws std::bad_alloc. Lifetime: borrows what `tensors` borrows.
[[nodiscard]] absl::StatusOr<SelectedWeights> SelectWeights(
    const ModuleConfig& config, const NamedTensors& tensors,
    const WeightSource& source, const ForeignTensors& foreign = {});

/// Take the module's parameters from tensors, copying them; converted to the
/// config's dtype when that is set.
///
/// \return SelectWeights' errors, and INVALID_ARGUMENT when dtypes differ and
///   the config's is unset, or when the config's compute_dtype is not for
///   theirs. Throws std::bad_alloc.
[[nodiscard]] absl::StatusOr<ModuleWeights> CollectWeights(
    const ModuleConfig& config, const NamedTensors& tensors,
    const WeightSource& source = {});

/// One of a module's tensors, as its file has it: the parameters it is made of,
/// one after the other along the first dimension (in_proj_weight is q, k, v).
struct StoredWeight {
  WeightSpec spec;
  std::vector<const Tensor*> parts;
};

/// List a module's tensors under its own names. Lifetime: borrows `weights`,
/// which must be of this config.
[[nodiscard]] std::vector<StoredWeight> ListWeights(
    const ModuleConfig& config, const ModuleWeights& weights);

}  // namespace attention
