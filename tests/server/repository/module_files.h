// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/safetensors/safetensors_writer.h"
#include "proto/wire/config_codec.h"
#include "server/repository/module_repository.h"
#include "tests/server/repository/module_tensors.h"
#include "tests/server/repository/temporary_directory.h"

namespace attention {

/// config.json of a module of SmallConfig.
inline constexpr std::string_view kConfigJson =
    R"({"config": {"multi_head_attention": {"embed_dim": 4, "num_heads": 2}}})";

/// The same with more fields, such as R"("weights_file": "x")".
inline std::string ConfigJsonWith(const std::string& fields) {
  return std::string(kConfigJson.substr(0, kConfigJson.size() - 1)) + ", " +
         fields + "}";
}

/// A safetensors file of a module of SmallConfig.
inline std::string WeightsFile(const std::string& prefix = "",
                               const SafetensorsMetadata& metadata = {},
                               std::uint64_t seed = 1) {
  const ModuleTensors tensors(SmallConfig(), DataType::kFloat32, seed);
  return SerializeSafetensors(tensors.views(prefix), metadata)
      .value()
      .ToString();
}

/// A module in the one-file form.
inline std::string OneFileForm() {
  return WeightsFile("", {{"config", ModuleConfigToJson(SmallConfig())}});
}

inline std::unique_ptr<ModuleRepository> OpenRepository(
    const TemporaryDirectory& directory,
    std::size_t max_bytes = std::size_t{1} << 20,
    const std::vector<std::string>& link_roots = {}) {
  return ModuleRepository::Open(directory.path().string(), max_bytes,
                                link_roots)
      .value();
}

}  // namespace attention
