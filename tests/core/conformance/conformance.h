// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "core/tensor/random_tensor.h"
#include "tests/testing/attention_case.h"
#include "tests/testing/tensor_compare.h"

namespace attention::testing {

/// Without a reserve a pass works in memory of just the size it asks for,
/// beyond which AddressSanitizer watches.
inline constexpr ScratchReserve kNoReserve = {.lease_bytes = 0,
                                              .thread_bytes = 0};

/// Base of the suites every implementation must pass.
class ConformanceTest : public ::testing::TestWithParam<ImplementationKind> {
 protected:
  std::unique_ptr<ModuleImplementation> Make(
      const MultiHeadAttentionConfig& config,
      DataType dtype = DataType::kFloat32, std::uint64_t seed = 7) const {
    return GetParam().make(config, MakeWeights(config, dtype, seed));
  }

  ComputePool pool_{2, Pinning::kNone, kNoReserve};
};

/// Instantiate a suite for every implementation.
#define ATTENTION_INSTANTIATE_CONFORMANCE(Suite)                          \
  INSTANTIATE_TEST_SUITE_P(                                               \
      Implementations, Suite, ::testing::ValuesIn(AllKinds()),            \
      [](const ::testing::TestParamInfo<ImplementationKind>& parameter) { \
        return parameter.param.name;                                      \
      })

}  // namespace attention::testing
