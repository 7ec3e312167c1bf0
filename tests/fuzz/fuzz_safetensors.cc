// SPDX-License-Identifier: Apache-2.0
// Parse a safetensors file; when it is accepted, read every byte its tensors
// claim to have, write them anew and expect the reader to find the same.
//
//   fuzz_safetensors -max_len=4096 CORPUS tests/fuzz/seeds/fuzz_safetensors
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include "core/safetensors/safetensors.h"
#include "core/safetensors/safetensors_writer.h"

namespace attention {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::cerr << "fuzz_safetensors: " << what << '\n';
  std::abort();
}

bool SameTensor(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::ranges::equal(std::span(a.data, a.num_bytes()),
                            std::span(b.data, b.num_bytes()));
}

void CheckRoundTrip(const SafetensorsView& view) {
  const auto written = SerializeSafetensors(view.tensors(), view.metadata());
  Require(written.ok(), "what was read cannot be written");
  const std::string bytes = written->ToString();
  const auto again = SafetensorsView::Parse(std::as_bytes(std::span(bytes)));
  Require(again.ok(), "what was written cannot be read");
  Require(again->metadata() == view.metadata(), "the metadata has changed");
  Require(std::ranges::equal(again->tensors(), view.tensors(),
                             [](const auto& a, const auto& b) {
                               return a.first == b.first &&
                                      SameTensor(a.second, b.second);
                             }),
          "a tensor has changed");
}

}  // namespace
}  // namespace attention

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto view =
      attention::SafetensorsView::Parse(std::as_bytes(std::span(data, size)));
  if (view.ok()) attention::CheckRoundTrip(*view);
  return 0;
}
