// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/core/bench_case.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/attention/module_spec.h"
#include "core/attention/request_plan.h"
#include "core/engine/layer_implementation.h"
#include "core/tensor/convert.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_macros.h"

namespace attention::bench {
namespace {

std::vector<char> ReadBytes(const std::string& path, std::size_t num_bytes) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || static_cast<std::size_t>(file.tellg()) != num_bytes) {
    throw std::runtime_error(path + ": missing, or of another size");
  }
  std::vector<char> bytes(num_bytes);
  file.seekg(0);
  file.read(bytes.data(), static_cast<std::streamsize>(num_bytes));
  return bytes;
}

// The floats of a file, rounded to `dtype`.
Tensor ReadTensor(const std::string& path, DataType dtype, const Shape& shape) {
  const auto count = static_cast<std::size_t>(shape.num_elements());
  const std::vector<char> bytes = ReadBytes(path, count * sizeof(float));
  std::vector<float> values(count);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  Tensor tensor(dtype, shape);
  StoreReals(values.data(), count, dtype, tensor.mutable_view().data);
  return tensor;
}

void WriteTensor(const Tensor& tensor, const std::string& path) {
  const auto count = static_cast<std::size_t>(tensor.shape().num_elements());
  std::vector<float> values(count);
  LoadReals(tensor.dtype(), tensor.view().data, count, values.data());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(count * sizeof(float)));
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

ModuleConfig MakeEncoderConfig(const CaseSpec& spec) {
  TransformerEncoderLayerConfig layer;
  layer.d_model = spec.embed_dim;
  layer.nhead = spec.num_heads;
  layer.dim_feedforward = spec.feed_forward;
  layer.activation = spec.activation;
  layer.batch_first = true;
  layer.compute_dtype = spec.dtype;
  TransformerEncoderConfig config;
  config.layer = layer;
  config.num_layers = spec.num_layers;
  return config;
}

ModuleConfig MakeConfig(const CaseSpec& spec) {
  if (spec.num_layers > 0) return MakeEncoderConfig(spec);
  if (!spec.projected) {
    ScaledDotProductAttentionConfig config;
    config.num_heads = spec.num_heads;
    config.head_dim = spec.embed_dim / spec.num_heads;
    config.compute_dtype = spec.dtype;
    return config;
  }
  MultiHeadAttentionConfig config;
  config.embed_dim = spec.embed_dim;
  config.num_heads = spec.num_heads;
  config.batch_first = true;
  config.compute_dtype = spec.dtype;
  return config;
}

Tensor ZeroTensor(DataType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  std::memset(tensor.mutable_view().data, 0, tensor.num_bytes());
  return tensor;
}

Shape QueryShape(const CaseSpec& spec) {
  return {spec.batch_size, spec.query_length, spec.embed_dim};
}

Shape KeyShape(const CaseSpec& spec) {
  return {spec.batch_size, spec.key_length, spec.embed_dim};
}

}  // namespace

DataType ParseDataType(std::string_view name) {
  for (const DataType dtype : {DataType::kFloat32, DataType::kBFloat16}) {
    if (DataTypeName(dtype) == name) return dtype;
  }
  throw std::invalid_argument("unknown dtype " + std::string(name));
}

CaseSpec ParseCaseSpec(const nlohmann::json& json) {
  const std::string weights = json.at("weights");
  return {.projected = json.at("projected"),
          .batch_size = json.at("batch_size"),
          .query_length = json.at("query_length"),
          .key_length = json.at("key_length"),
          .embed_dim = json.at("embed_dim"),
          .num_heads = json.at("num_heads"),
          .dtype = ParseDataType(json.at("dtype").get<std::string>()),
          .num_layers = json.at("layers"),
          .feed_forward = json.at("feed_forward"),
          .activation = json.at("activation") == "gelu" ? Activation::kGelu
                                                        : Activation::kRelu,
          .cross = json.at("cross"),
          .causal = json.at("causal"),
          .padded = json.at("padded"),
          .need_weights = weights != "none",
          .average_weights = weights == "average"};
}

BenchCase::BenchCase(const CaseSpec& spec)
    : spec_(spec), config_(MakeConfig(spec)) {}

absl::Status BenchCase::MakeImplementation(const NamedTensors& weights) {
  ATTENTION_ASSIGN_OR_RETURN(const ModuleWeights collected,
                             CollectWeights(config_, weights));
  ATTENTION_ASSIGN_OR_RETURN(
      const ComputePath path,
      ChooseComputePath(spec_.path, SpecOf(config_).attention.compute_dtype));
  ATTENTION_ASSIGN_OR_RETURN(owned_,
                             MakeLayerImplementation(config_, collected, path));
  implementation_ = owned_.get();
  return absl::OkStatus();
}

void BenchCase::MakeAnswer() {
  const std::int64_t n = spec_.batch_size;
  const std::int64_t l = spec_.query_length;
  const std::int64_t s = spec_.key_length;
  output_ = ZeroTensor(spec_.dtype, QueryShape(spec_));
  if (spec_.need_weights) {
    weights_ = ZeroTensor(spec_.dtype, spec_.average_weights
                                           ? Shape{n, l, s}
                                           : Shape{n, spec_.num_heads, l, s});
  }
}

absl::StatusOr<std::unique_ptr<BenchCase>> BenchCase::Load(
    const CaseSpec& spec, const std::string& folder) {
  std::unique_ptr<BenchCase> loaded(new BenchCase(spec));
  std::vector<Tensor> tensors;
  NamedTensors weights;
  for (const WeightSpec& weight : ExpectedWeights(loaded->config_)) {
    tensors.push_back(ReadTensor(folder + "/" + weight.name + ".f32",
                                 spec.dtype, weight.shape));
    weights.emplace(weight.name, tensors.back().view());
  }
  ATTENTION_RETURN_IF_ERROR(loaded->MakeImplementation(weights));
  loaded->query_ =
      ReadTensor(folder + "/query.f32", spec.dtype, QueryShape(spec));
  if (spec.cross) {
    loaded->key_ = ReadTensor(folder + "/key.f32", spec.dtype, KeyShape(spec));
  }
  if (spec.padded) {
    loaded->key_padding_ =
        Tensor(DataType::kBool, {spec.batch_size, spec.key_length});
    const std::vector<char> bytes = ReadBytes(
        folder + "/key_padding.u8", loaded->key_padding_->num_bytes());
    std::memcpy(loaded->key_padding_->mutable_view().data, bytes.data(),
                bytes.size());
  }
  loaded->MakeAnswer();
  return loaded;
}

absl::StatusOr<std::unique_ptr<BenchCase>> BenchCase::Random(
    const CaseSpec& spec) {
  std::unique_ptr<BenchCase> made(new BenchCase(spec));
  constexpr float kScale = 0.0625F;  // keeps the scores small
  std::vector<Tensor> tensors;
  NamedTensors weights;
  for (const WeightSpec& weight : ExpectedWeights(made->config_)) {
    tensors.push_back(RandomTensor(spec.dtype, weight.shape, /*seed=*/1,
                                   static_cast<std::uint32_t>(tensors.size()),
                                   kScale));
    weights.emplace(weight.name, tensors.back().view());
  }
  ATTENTION_RETURN_IF_ERROR(made->MakeImplementation(weights));
  made->query_ = RandomTensor(spec.dtype, QueryShape(spec), /*seed=*/2);
  made->MakeAnswer();
  return made;
}

std::unique_ptr<BenchCase> BenchCase::Random(const CaseSpec& spec,
                                             const BenchCase& like) {
  std::unique_ptr<BenchCase> made(new BenchCase(spec));
  made->implementation_ = like.implementation_;
  made->query_ = RandomTensor(spec.dtype, QueryShape(spec), /*seed=*/2);
  made->MakeAnswer();
  return made;
}

absl::Status BenchCase::Forward(ComputePool& pool) {
  AttentionInputs inputs;
  inputs.query = query_.view();
  if (key_) inputs.key = key_->view();
  if (key_padding_) inputs.key_padding_mask = key_padding_->view();
  inputs.causal = spec_.causal ? Causal::kTopLeft : Causal::kNone;
  inputs.need_weights = spec_.need_weights;
  inputs.average_attn_weights = spec_.average_weights;
  ATTENTION_ASSIGN_OR_RETURN(const std::unique_ptr<RequestPlan> request,
                             ResolveRequest(config_, inputs));
  AttentionOutputs outputs{output_.mutable_view(), {}};
  if (weights_) outputs.weights = weights_->mutable_view();
  request->Bind(outputs);
  return implementation_->Forward(request->sequences, pool);
}

void BenchCase::WriteAnswer(const std::string& folder) const {
  WriteTensor(output_, folder + "/output.f32");
  if (weights_) WriteTensor(*weights_, folder + "/weights.f32");
}

}  // namespace attention::bench
