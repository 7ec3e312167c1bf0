// SPDX-License-Identifier: Apache-2.0
// Write the modules and inputs of the demo, the same ones at every run.
//
//   make-demo-modules DIR
//   attention-server --modules DIR/modules --load all
//   attention-client forward first_steps --inputs
//   DIR/inputs/first_steps.safetensors
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "core/safetensors/safetensors_writer.h"
#include "proto/wire/config_codec.h"
#include "tests/golden/golden_case.h"

namespace attention {
namespace {

void WriteTensors(const std::filesystem::path& path,
                  const OwnedTensors& tensors,
                  const SafetensorsMetadata& metadata) {
  const auto serialized = SerializeSafetensors(ViewOf(tensors), metadata);
  if (!serialized.ok()) {
    throw std::runtime_error(serialized.status().ToString());
  }
  std::ofstream file(path, std::ios::binary);
  file << serialized->ToString();
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

void WriteDemo(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory / "modules");
  std::filesystem::create_directories(directory / "inputs");
  for (const GoldenCase& golden_case : LoadGoldenCases()) {
    if (!golden_case.is_demo) continue;
    const std::string file = golden_case.name + ".safetensors";
    WriteTensors(directory / "modules" / file, MakeGoldenWeights(golden_case),
                 {{"config", ModuleConfigToJson(golden_case.config)}});
    WriteTensors(directory / "inputs" / file, MakeGoldenInputs(golden_case),
                 {});
  }
}

}  // namespace
}  // namespace attention

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make-demo-modules DIR\n";
    return 2;
  }
  try {
    attention::WriteDemo(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << "make-demo-modules: " << error.what() << '\n';
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
