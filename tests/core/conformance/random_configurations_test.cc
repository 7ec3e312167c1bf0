// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <string_view>

#include "tests/core/conformance/conformance.h"
#include "tests/testing/random_case.h"

namespace attention::testing {
namespace {

constexpr std::uint64_t kCases = 150;
// Of float32, the tolerance of which is the narrowest.
constexpr std::uint64_t kFloat32Cases = 900;
constexpr std::array kDtypes = {DataType::kFloat32, DataType::kBFloat16,
                                DataType::kFloat16};

class RandomConfigurationsTest : public ::testing::TestWithParam<DataType> {
 protected:
  ComputePool pool_{2, Pinning::kNone, kNoReserve};
};

// Both see the same 16-bit inputs and round the result once, so each dtype's
// default tolerance holds.
TEST_P(RandomConfigurationsTest, EveryPathAgreesWithTheReference) {
  const std::uint64_t num_cases =
      GetParam() == DataType::kFloat32 ? kFloat32Cases : kCases;
  for (std::uint64_t seed = 0; seed < num_cases; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const RandomCase random(seed, GetParam());
    const auto compute = [&](const ImplementationKind& kind) {
      return Compute(*kind.make(random.config, random.Weights()), random.config,
                     random.inputs, pool_);
    };
    const Answer want = compute(ReferenceKind());
    for (const ImplementationKind& kind : AllKinds()) {
      if (kind.name == "Reference") continue;
      SCOPED_TRACE(kind.name);
      const Answer got = compute(kind);
      ASSERT_TRUE(IsClose(got.output.view(), want.output.view()));
      ASSERT_EQ(got.weights.has_value(), want.weights.has_value());
      if (want.weights) {
        ASSERT_TRUE(IsClose(got.weights->view(), want.weights->view()));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Paths, RandomConfigurationsTest, ::testing::ValuesIn(kDtypes),
    [](const ::testing::TestParamInfo<DataType>& parameter) {
      return std::string(DataTypeName(parameter.param));
    });

// A random case, as the kinds below look at it.
struct Sample {
  const MultiHeadAttentionConfig& config;
  const AttentionInputs& in;
  DataType weights_dtype;
  const RequestPlan& batch;

  [[nodiscard]] bool ragged() const { return !in.query_lengths.empty(); }
  [[nodiscard]] bool empty() const {
    return batch.sequences.empty() || batch.max_key_length == 0;
  }
};

bool IsBool(const std::optional<TensorView>& mask) {
  return mask && mask->dtype == DataType::kBool;
}
bool IsAdditive(const std::optional<TensorView>& mask) {
  return mask && IsFloating(mask->dtype);
}
bool HasLargeFiniteValues(const std::optional<TensorView>& mask) {
  return IsAdditive(mask) &&
         std::ranges::any_of(ToDoubles(*mask), [](double v) {
           return v < -1e8 && std::isfinite(v);
         });
}

constexpr std::string_view kEmpty = "without sequences, query rows or keys";

struct Kind {
  std::string_view name;
  bool (*holds)(const Sample&);
};
constexpr auto kKinds = std::to_array<Kind>({
    {"unbatched",
     [](const Sample& s) {
       return s.in.query.shape.rank() == 2 && !s.ragged();
     }},
    {"batch first",
     [](const Sample& s) {
       return s.in.query.shape.rank() == 3 && s.config.batch_first;
     }},
    {"sequence first",
     [](const Sample& s) {
       return s.in.query.shape.rank() == 3 && !s.config.batch_first;
     }},
    {"ragged", [](const Sample& s) { return s.ragged(); }},
    {"ragged with 3-D attn_mask",
     [](const Sample& s) {
       return s.ragged() && s.batch.attn_mask &&
              s.batch.attn_mask->shape.rank() == 3;
     }},
    {"ragged with an empty sequence",
     [](const Sample& s) {
       return !s.empty() && std::ranges::count(s.in.query_lengths, 0) > 0;
     }},
    {kEmpty, [](const Sample& s) { return s.empty(); }},
    {"absent key", [](const Sample& s) { return !s.in.key && s.in.value; }},
    {"absent value", [](const Sample& s) { return s.in.key && !s.in.value; }},
    {"absent key and value",
     [](const Sample& s) { return !s.in.key && !s.in.value; }},
    {"kdim of its own",
     [](const Sample& s) { return s.config.key_dim() != s.config.embed_dim; }},
    {"vdim of its own",
     [](const Sample& s) {
       return s.config.value_dim() != s.config.embed_dim;
     }},
    {"kdim given as embed_dim",
     [](const Sample& s) { return s.config.kdim == s.config.embed_dim; }},
    {"bias_k, bias_v", [](const Sample& s) { return s.config.add_bias_kv; }},
    {"row of zeros", [](const Sample& s) { return s.config.add_zero_attn; }},
    {"dropout", [](const Sample& s) { return s.batch.dropout > 0.0; }},
    {"16-bit query, float32 weights",
     [](const Sample& s) {
       return s.in.query.dtype != DataType::kFloat32 &&
              s.weights_dtype == DataType::kFloat32;
     }},
    {"float32 query, 16-bit weights",
     [](const Sample& s) {
       return s.in.query.dtype == DataType::kFloat32 &&
              s.weights_dtype != DataType::kFloat32;
     }},
    {"2-D attn_mask",
     [](const Sample& s) {
       return s.batch.attn_mask && s.batch.attn_mask->shape.rank() == 2;
     }},
    {"3-D attn_mask",
     [](const Sample& s) {
       return s.batch.attn_mask && s.batch.attn_mask->shape.rank() == 3;
     }},
    {"both masks bool",
     [](const Sample& s) {
       return IsBool(s.in.attn_mask) && IsBool(s.in.key_padding_mask);
     }},
    {"both masks additive",
     [](const Sample& s) {
       return IsAdditive(s.in.attn_mask) && IsAdditive(s.in.key_padding_mask);
     }},
    {"bool attn_mask, additive key_padding_mask",
     [](const Sample& s) {
       return IsBool(s.in.attn_mask) && IsAdditive(s.in.key_padding_mask);
     }},
    {"additive attn_mask, bool key_padding_mask",
     [](const Sample& s) {
       return IsAdditive(s.in.attn_mask) && IsBool(s.in.key_padding_mask);
     }},
    {"mask of another dtype",
     [](const Sample& s) {
       return IsAdditive(s.in.attn_mask) &&
              s.in.attn_mask->dtype != s.in.query.dtype;
     }},
    {"large finite mask values",
     [](const Sample& s) {
       return HasLargeFiniteValues(s.in.attn_mask) ||
              HasLargeFiniteValues(s.in.key_padding_mask);
     }},
    {"int32 length of each sequence",
     [](const Sample& s) {
       return s.in.valid_lens && s.in.valid_lens->shape.rank() == 1 &&
              s.in.valid_lens->dtype == DataType::kInt32;
     }},
    {"int64 length of each sequence",
     [](const Sample& s) {
       return s.in.valid_lens && s.in.valid_lens->shape.rank() == 1 &&
              s.in.valid_lens->dtype == DataType::kInt64;
     }},
    {"int32 length of each row",
     [](const Sample& s) {
       return s.in.valid_lens && s.in.valid_lens->shape.rank() == 2 &&
              s.in.valid_lens->dtype == DataType::kInt32;
     }},
    {"int64 length of each row",
     [](const Sample& s) {
       return s.in.valid_lens && s.in.valid_lens->shape.rank() == 2 &&
              s.in.valid_lens->dtype == DataType::kInt64;
     }},
    {"is_causal in place of attn_mask",
     [](const Sample& s) { return s.batch.causal_over_appended; }},
    {"top-left causal",
     [](const Sample& s) { return s.in.causal == Causal::kTopLeft; }},
    {"bottom-right causal",
     [](const Sample& s) { return s.in.causal == Causal::kBottomRight; }},
    {"weights averaged",
     [](const Sample& s) {
       return s.in.need_weights && s.in.average_attn_weights;
     }},
    {"weights per head",
     [](const Sample& s) {
       return s.in.need_weights && !s.in.average_attn_weights;
     }},
});

TEST(RandomConfigurationsCoverageTest, EveryKindHasItsShare) {
  constexpr int kLeast = 5;
  std::map<std::string_view, int> counts;
  for (const DataType dtype : kDtypes) {
    for (std::uint64_t seed = 0; seed < kCases; ++seed) {
      const RandomCase random(seed, dtype);
      const auto batch = ResolveRequest(random.config, random.inputs);
      ASSERT_TRUE(batch.ok()) << "seed " << seed << ": " << batch.status();
      const Sample sample = {random.config, random.inputs, random.weights_dtype,
                             **batch};
      for (const Kind& kind : kKinds)
        counts[kind.name] += kind.holds(sample) ? 1 : 0;
    }
  }
  for (const Kind& kind : kKinds) {
    EXPECT_GE(counts[kind.name], kLeast) << kind.name;
  }
  const auto total = static_cast<int>(kCases * std::size(kDtypes));
  EXPECT_LE(counts[kEmpty], total / 8);
}

}  // namespace
}  // namespace attention::testing
