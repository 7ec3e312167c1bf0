// SPDX-License-Identifier: Apache-2.0
// What a forward pass that its pool's reserve is enough for allocates: nothing,
// beside what oneDNN does.
#include <atomic>
#include <cstddef>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/module_spec.h"
#include "tests/core/conformance/conformance.h"
#include "tests/core/conformance/mixture.h"
#include "tests/testing/allocation_counter.h"

namespace {
std::atomic<std::size_t> num_allocations{0};
std::atomic<bool> uses_ukernels{false};

// oneDNN 3.7's dnnl_brgemm_execute makes a std::vector of one batch element,
// 40 bytes, in each call, which nothing of ours can prevent: 48 bytes as
// allocation_counter.cc rounds it, and 16 before it.
constexpr std::size_t kUkernelsOwn = 64;
}  // namespace

// The linker puts these in place of the call that every operator new of the
// executable, allocation_counter.cc's, comes down to.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" void* __real_aligned_alloc(std::size_t alignment, std::size_t size);
extern "C" void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
  if (!uses_ukernels || size != kUkernelsOwn) ++num_allocations;
  return __real_aligned_alloc(alignment, size);
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

namespace attention::testing {
namespace {

class SteadyStateTest : public ::testing::TestWithParam<ImplementationKind> {
 protected:
  SteadyStateTest() {
    uses_ukernels = GetParam().name == "FusedBfloat16";
    config_.embed_dim = 24;
    config_.num_heads = 3;
    config_.batch_first = true;
    SetSizes(70, 600);
  }

  TensorView Keep(Tensor tensor) {
    storage_.push_back(std::move(tensor));
    return storage_.back().view();
  }
  TensorView Random(const Shape& shape, DataType dtype = DataType::kFloat32) {
    return Keep(RandomTensor(dtype, shape, 1, ++stream_));
  }
  void SetSizes(std::int64_t length, std::int64_t keys,
                DataType dtype = DataType::kFloat32) {
    inputs_.query = Random({2, length, 24}, dtype);
    inputs_.key = Random({2, keys, 24}, dtype);
  }
  TensorView Holes(const Shape& shape) {
    Tensor mask(DataType::kBool, shape);
    std::size_t place = 0;
    for (bool& hidden : mask.data<bool>()) hidden = ++place % 5 == 0;
    return Keep(std::move(mask));
  }

  static std::unique_ptr<ModuleImplementation> Make(
      const ModuleConfig& config) {
    return GetParam().make(config, MakeWeights(config, DataType::kFloat32, 7));
  }

  // Allocations of a pass over bound sequences.
  std::size_t AllocationsOf(const ModuleImplementation& attention,
                            std::span<const Sequence> sequences) {
    const std::size_t before = num_allocations;
    const absl::Status status = attention.Forward(sequences, pool_);
    const std::size_t count = num_allocations - before;
    EXPECT_TRUE(status.ok()) << status;
    return count;
  }
  // Allocations of the first pass of a request.
  std::size_t AllocationsOf(const ModuleConfig& config) {
    const auto attention = Make(config);
    const auto batch = ResolveRequest(config, inputs_);
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok()) return 0;
    Answer answer = MakeAnswer(**batch);
    (*batch)->Bind(answer.outputs());
    return AllocationsOf(*attention, (*batch)->sequences);
  }
  void ExpectNoAllocation(const ModuleConfig& config) {
    for (const auto& [need, average] :
         {std::pair(false, false), {true, true}, {true, false}}) {
      inputs_.need_weights = need;
      inputs_.average_attn_weights = average;
      EXPECT_EQ(AllocationsOf(config), 0U)
          << "weights " << need << ", averaged " << average;
    }
  }
  void ExpectNoAllocation() { ExpectNoAllocation(config_); }

  MultiHeadAttentionConfig config_;
  AttentionInputs inputs_;
  ComputePool pool_{2};

 private:
  std::vector<Tensor> storage_;
  std::uint32_t stream_ = 0;
};

TEST_P(SteadyStateTest, PlainPassesAllocateNothing) { ExpectNoAllocation(); }

TEST_P(SteadyStateTest, TheCounterCounts) {
  const std::size_t before = num_allocations;
  const auto module =
      GetParam().make(config_, MakeWeights(config_, DataType::kFloat32, 7));
  EXPECT_GT(num_allocations, before);
}

TEST_P(SteadyStateTest, CausalPassesAllocateNothing) {
  for (const Causal causal : {Causal::kTopLeft, Causal::kBottomRight}) {
    inputs_.causal = causal;
    ExpectNoAllocation();
  }
}

TEST_P(SteadyStateTest, MaskedPassesAllocateNothing) {
  inputs_.attn_mask = Holes({70, 600});
  ExpectNoAllocation();
  inputs_.attn_mask = Random({6, 70, 600});
  ExpectNoAllocation();
}

TEST_P(SteadyStateTest, PassesWithHolesInThePaddingAllocateNothing) {
  inputs_.key_padding_mask = Holes({2, 600});
  ExpectNoAllocation();
  inputs_.attn_mask = Holes({70, 600});
  ExpectNoAllocation();
}

TEST_P(SteadyStateTest, PassesOver16BitTensorsAllocateNothing) {
  for (const DataType dtype : {DataType::kBFloat16, DataType::kFloat16}) {
    SetSizes(70, 600, dtype);
    ExpectNoAllocation();
  }
}

TEST_P(SteadyStateTest, PassesWithDropoutAllocateNothing) {
  config_.dropout = 0.25;
  inputs_.training = true;
  ExpectNoAllocation();
}

TEST_P(SteadyStateTest, PassesWithAppendedKeysAllocateNothing) {
  config_.add_bias_kv = true;
  config_.add_zero_attn = true;
  ExpectNoAllocation();
}

TEST_P(SteadyStateTest, D2lPassesWithLengthsOfRowsAllocateNothing) {
  Tensor lens(DataType::kInt64, {2, 70});
  std::int64_t length = 0;
  for (std::int64_t& value : lens.data<std::int64_t>()) value = length++ * 4;
  inputs_.valid_lens = Keep(std::move(lens));
  ExpectNoAllocation(
      D2lMultiHeadAttentionConfig{.num_hiddens = 24, .num_heads = 3});
}

TEST_P(SteadyStateTest, PassesWithoutProjectionsAllocateNothing) {
  ExpectNoAllocation(
      ScaledDotProductAttentionConfig{.num_heads = 3, .head_dim = 8});
}

TEST_P(SteadyStateTest, PassesOverManyRequestsAllocateNothing) {
  Draws draws{std::mt19937_64(20260103)};
  for (const Model& model : Models()) {
    if (SpecOf(model.config).encoder) continue;  // its norms are oneDNN's
    SCOPED_TRACE(model.config.index());
    const auto attention = Make(model.config);
    for (const int count : {2, 7, 30}) {
      const OwnedRequests requests = draws.DrawRequests(model, count);
      const std::vector<Sequence> sequences = BindAll(requests);
      EXPECT_EQ(AllocationsOf(*attention, sequences), 0U)
          << count << " requests";
    }
  }
}

// The fused paths; primitives cache what they compile.
std::vector<ImplementationKind> FusedKinds() {
  std::vector<ImplementationKind> kinds;
  for (const ImplementationKind& kind : InvariantKinds()) {
    if (kind.name != "Reference" && kind.name != "Primitives") {
      kinds.push_back(kind);
    }
  }
  return kinds;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SteadyStateTest);
INSTANTIATE_TEST_SUITE_P(
    Kinds, SteadyStateTest, ::testing::ValuesIn(FusedKinds()),
    [](const ::testing::TestParamInfo<ImplementationKind>& parameter) {
      return parameter.param.name;
    });

}  // namespace
}  // namespace attention::testing
