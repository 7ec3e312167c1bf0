// SPDX-License-Identifier: Apache-2.0
#include "tests/server/test_module.h"

#include <memory>
#include <span>
#include <utility>

#include "core/reference/reference_implementation.h"
#include "core/safetensors/safetensors.h"
#include "core/safetensors/safetensors_writer.h"
#include "core/tensor/random_tensor.h"
#include "proto/wire/config_codec.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/tensor_codec.h"
#include "server/weights/stored_module.h"
#include "tests/server/repository/module_tensors.h"
#include "tests/testing/attention_case.h"

namespace attention::testing {

v1::UploadModuleHeader TestModule::Header(const std::string& name) const {
  v1::UploadModuleHeader header;
  header.set_name(name);
  *header.mutable_config() = EncodeModuleConfig(config);
  return header;
}

std::vector<std::string> TestModule::UploadMessages(
    const v1::UploadModuleHeader& header) const {
  v1::UploadModuleRequest first;
  *first.mutable_header() = header;
  v1::UploadModuleRequest data;
  data.set_data(file);
  return {first.SerializeAsString(), data.SerializeAsString()};
}

namespace {

TestModule Make(std::int64_t embed_dim, DataType dtype, std::uint64_t seed) {
  TestModule module;
  module.config.embed_dim = embed_dim;
  module.config.num_heads = 2;
  const ModuleTensors tensors(module.config, dtype, seed);
  module.file = SerializeSafetensors(tensors.views()).value().ToString();
  return module;
}

}  // namespace

TestModule MakeTestModule(std::int64_t embed_dim, std::uint64_t seed) {
  return Make(embed_dim, DataType::kFloat32, seed);
}

TestModule MakeTestModule(DataType dtype) {
  return Make(/*embed_dim=*/8, dtype, /*seed=*/1);
}

v1::ForwardRequest MakeRequest(const std::string& module, std::int64_t length,
                               std::int64_t embed_dim) {
  v1::ForwardRequest request;
  request.set_module(module);
  EncodeTensor(RandomTensor(DataType::kFloat32, {length, 1, embed_dim},
                            /*seed=*/9)
                   .view(),
               request.mutable_query());
  return request;
}

Tensor ReferenceOutput(const TestModule& module,
                       const v1::ForwardRequest& request) {
  const SafetensorsView view =
      SafetensorsView::Parse(std::as_bytes(std::span(module.file))).value();
  StoredModule stored = ReadModule(view, module.config).value();
  const auto reference = MakeReferenceImplementation(
      module.config, MakeWeightStore(std::move(stored.weights)));
  ComputePool pool(1);
  return Compute(*reference, module.config,
                 DecodeForwardRequest(request).value(), pool)
      .output;
}

}  // namespace attention::testing
