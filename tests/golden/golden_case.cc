// SPDX-License-Identifier: Apache-2.0
#include "tests/golden/golden_case.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>
#include <variant>

#include "core/tensor/convert.h"
#include "core/tensor/random_tensor.h"
#include "proto/wire/config_codec.h"

namespace attention {
namespace {

using nlohmann::json;

// FNV-1a, 32 bits.
std::uint32_t StreamOf(std::string_view name) {
  std::uint32_t hash = 0x811C9DC5;
  for (const char character : name) {
    hash = (hash ^ static_cast<unsigned char>(character)) * 0x01000193U;
  }
  return hash;
}

template <typename T>
T OrThrow(absl::StatusOr<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().ToString());
  return *std::move(result);
}

Shape ReadShape(const json& dims) {
  return OrThrow(Shape::Create(dims.get<std::vector<std::int64_t>>()));
}

MaskSpec ReadMask(const json& mask) {
  static const std::map<std::string, MaskSpec::Kind> kKinds = {
      {"upper_triangular", MaskSpec::Kind::kUpperTriangular},
      {"bool", MaskSpec::Kind::kBool},
      {"float", MaskSpec::Kind::kFloat}};
  return {
      .shape = ReadShape(mask.at("shape")),
      .kind = kKinds.at(mask.at("kind").get<std::string>()),
      .masked_rows = mask.value("masked_rows", std::vector<std::int64_t>())};
}

MultiHeadAttentionConfig ReadConfig(const json& config) {
  const json module = {{"multi_head_attention", config}};
  return std::get<MultiHeadAttentionConfig>(
      OrThrow(ParseModuleConfigJson(module.dump())));
}

GoldenCase ReadCase(const json& entry, std::uint64_t seed) {
  GoldenCase result;
  result.name = entry.at("name").get<std::string>();
  result.seed = seed;
  result.is_demo = entry.value("demo", false);
  result.config = ReadConfig(entry.at("config"));
  for (const char* name : {"query", "key", "value"}) {
    if (entry.contains(name)) {
      result.shapes.emplace(name, ReadShape(entry.at(name)));
    }
  }
  for (const char* name : {"attn_mask", "key_padding_mask"}) {
    if (entry.contains(name)) {
      result.masks.emplace(name, ReadMask(entry.at(name)));
    }
  }
  result.is_causal = entry.value("is_causal", false);
  result.need_weights = entry.value("need_weights", true);
  result.average_attn_weights = entry.value("average_attn_weights", true);
  return result;
}

// About 4 / sqrt(fan_in) for a matrix, so that attention is far from uniform;
// a power of two, so that scaling is exact.
float WeightScale(const WeightSpec& spec) {
  if (spec.shape.rank() != 2) return 0.5F;
  const auto fan_in = static_cast<std::uint64_t>(spec.shape.back());
  return std::ldexp(1.0F, 2 - (std::bit_width(fan_in - 1) + 1) / 2);
}

// Whether element `index` of a bool mask hides its key.
bool IsMasked(const MaskSpec& spec, std::size_t index, float uniform) {
  if (spec.kind == MaskSpec::Kind::kBool) return uniform < -0.25F;
  const auto columns = static_cast<std::size_t>(spec.shape.back());
  const auto rows =
      static_cast<std::size_t>(spec.shape.dim(spec.shape.rank() - 2));
  return index % columns > index / columns % rows;
}

float AddedScore(float uniform) {
  return uniform < -0.75F ? -std::numeric_limits<float>::infinity()
                          : 2.0F * uniform;
}

Tensor MakeMask(const GoldenCase& golden_case, std::string_view name) {
  const MaskSpec& spec = golden_case.masks.find(name)->second;
  const bool is_bool = spec.kind != MaskSpec::Kind::kFloat;
  const Tensor uniform = RandomTensor(DataType::kFloat32, spec.shape,
                                      golden_case.seed, StreamOf(name));
  const auto values = uniform.data<float>();
  const auto columns = static_cast<std::size_t>(spec.shape.back());
  Tensor mask(is_bool ? DataType::kBool : golden_case.dtype(), spec.shape);
  std::byte* out = mask.mutable_view().data;
  const std::size_t element_size = DataTypeSize(mask.dtype());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool whole_row =
        std::ranges::count(spec.masked_rows,
                           static_cast<std::int64_t>(i / columns)) != 0;
    if (is_bool) {
      out[i] = std::byte{whole_row || IsMasked(spec, i, values[i])};
    } else {
      const float score = AddedScore(whole_row ? -1.0F : values[i]);
      StoreReals(&score, 1, mask.dtype(), out + i * element_size);
    }
  }
  return mask;
}

std::optional<TensorView> Find(const OwnedTensors& tensors,
                               std::string_view name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return std::nullopt;
  return found->second.view();
}

}  // namespace

std::vector<GoldenCase> LoadGoldenCases() {
  std::ifstream file(ATTENTION_GOLDEN_DIR "/cases.json");
  const json document = json::parse(file);
  std::vector<GoldenCase> cases;
  for (const json& entry : document.at("cases")) {
    cases.push_back(ReadCase(entry, cases.size()));
  }
  return cases;
}

std::string GoldenAnswerPath(std::string_view case_name) {
  return std::string(ATTENTION_GOLDEN_DIR "/")
      .append(case_name)
      .append(".safetensors");
}

OwnedTensors MakeGoldenWeights(const GoldenCase& golden_case) {
  OwnedTensors weights;
  for (const WeightSpec& spec : ExpectedWeights(golden_case.config)) {
    weights.emplace(
        spec.name,
        RandomTensor(golden_case.dtype(), spec.shape, golden_case.seed,
                     StreamOf(spec.name), WeightScale(spec)));
  }
  return weights;
}

OwnedTensors MakeGoldenInputs(const GoldenCase& golden_case) {
  OwnedTensors inputs;
  for (const auto& [name, shape] : golden_case.shapes) {
    inputs.emplace(name, RandomTensor(golden_case.dtype(), shape,
                                      golden_case.seed, StreamOf(name)));
  }
  for (const auto& [name, spec] : golden_case.masks) {
    inputs.emplace(name, MakeMask(golden_case, name));
  }
  return inputs;
}

NamedTensors ViewOf(const OwnedTensors& tensors) {
  NamedTensors views;
  for (const auto& [name, tensor] : tensors) {
    views.emplace(name, tensor.view());
  }
  return views;
}

AttentionInputs GoldenRequest(const GoldenCase& golden_case,
                              const OwnedTensors& tensors) {
  AttentionInputs inputs;
  inputs.query = tensors.at("query").view();
  inputs.key = Find(tensors, "key");
  inputs.value = Find(tensors, "value");
  inputs.attn_mask = Find(tensors, "attn_mask");
  inputs.key_padding_mask = Find(tensors, "key_padding_mask");
  inputs.is_causal = golden_case.is_causal;
  inputs.need_weights = golden_case.need_weights;
  inputs.average_attn_weights = golden_case.average_attn_weights;
  return inputs;
}

}  // namespace attention
