// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/cpu_isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace attention {
namespace {

using ::testing::AnyOf;

// What ONEDNN_MAX_CPU_ISA leaves of the machine; "": everything.
std::string Limit() {
  const char* isa = std::getenv("ONEDNN_MAX_CPU_ISA");
  return isa == nullptr ? "" : isa;
}

// "Primitive" has it run with every limit.
TEST(PrimitiveInstructionsTest, KeepToTheLimit) {
  for (const DataType dtype : {DataType::kFloat32, DataType::kBFloat16}) {
    const std::string_view found = OneDnnInstructions(dtype);
    if (Limit() == "SSE41") {
      EXPECT_EQ(found, "SSE4.1");
    } else if (Limit() == "AVX2") {
      EXPECT_EQ(found, MayUseAvx2() ? "AVX2" : "SSE4.1");
    } else if (Limit() == "AVX512_CORE") {
      EXPECT_THAT(found, AnyOf("AVX-512", "AVX2", "SSE4.1"));
    }
  }
}

TEST(PrimitiveInstructionsTest, AreAtMostAvx512InFloat32) {
  EXPECT_THAT(OneDnnInstructions(DataType::kFloat32),
              AnyOf("AVX-512", "AVX2", "SSE4.1"));
}

}  // namespace
}  // namespace attention
