// SPDX-License-Identifier: Apache-2.0
// Makes core/simd keep to the instructions that ONEDNN_MAX_CPU_ISA leaves to
// oneDNN, so that one machine plays others.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "hwy/highway.h"
#include "hwy/targets.h"

namespace attention {
namespace {

class OlderMachine : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* isa = std::getenv("ONEDNN_MAX_CPU_ISA");
    if (isa == nullptr || std::string_view(isa) != "AVX2") return;
    // Better targets have lower bits.
    hwy::DisableTargets(HWY_AVX2 - 1);
    ASSERT_EQ(hwy::SupportedTargets() & (HWY_AVX2 - 1), 0);
  }
};

const auto* const kOlderMachine =
    ::testing::AddGlobalTestEnvironment(new OlderMachine);

}  // namespace
}  // namespace attention
