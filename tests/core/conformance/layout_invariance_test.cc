// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
#include <numeric>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/core/conformance/conformance.h"

namespace attention::testing {
namespace {

enum class Masks : std::uint8_t {
  kLengths,      // padding behind the keys, as in all the others
  kHoles,        // padding between the keys as well
  kMatrices,     // an additive mask for each head
  kTopLeft,      // causal
  kBottomRight,  // causal
};
using Parameter = std::tuple<ImplementationKind, DataType, Masks>;

std::string NameOf(const ::testing::TestParamInfo<Parameter>& info) {
  constexpr std::array<std::string_view, 5> kNames = {
      "Lengths", "Holes", "Matrices", "TopLeft", "BottomRight"};
  const auto& [kind, dtype, masks] = info.param;
  return kind.name + "_" + std::string(DataTypeName(dtype)) + "_" +
         std::string(kNames[static_cast<std::size_t>(masks)]);
}

// Elements [first, first + count) of one axis.
Tensor Slice(const TensorView& from, std::size_t axis, std::int64_t first,
             std::int64_t count) {
  std::vector<std::int64_t> dims(from.shape.dims().begin(),
                                 from.shape.dims().end());
  std::size_t step = DataTypeSize(from.dtype);
  for (std::size_t a = axis + 1; a < dims.size(); ++a) {
    step *= static_cast<std::size_t>(dims[a]);
  }
  const std::size_t from_bytes = static_cast<std::size_t>(dims[axis]) * step;
  dims[axis] = count;
  Tensor slice(from.dtype, *Shape::Create(dims));
  const std::size_t bytes = static_cast<std::size_t>(count) * step;
  const std::byte* source = from.data + static_cast<std::size_t>(first) * step;
  for (std::size_t done = 0; done < slice.num_bytes(); done += bytes) {
    std::memcpy(slice.mutable_view().data + done, source, bytes);
    source += from_bytes;
  }
  return slice;
}

// The first `rows` rows and `columns` columns of matrix or matrices n.
Tensor Corner(const TensorView& from, std::int64_t n, std::int64_t rows,
              std::int64_t columns) {
  const std::size_t rank = from.shape.rank();
  const Tensor one = Slice(from, 0, n, 1);
  const Tensor top = Slice(one.view(), rank - 2, 0, rows);
  return Slice(top.view(), rank - 1, 0, columns);
}

// One batch in its forms: padded, ragged, and sequence by sequence. The lengths
// take several tiles of rows, a part of one, and padded steps of columns.
class LayoutInvarianceTest : public ::testing::TestWithParam<Parameter> {
 protected:
  static constexpr std::int64_t kBatch = 4, kLength = 70, kKeys = 300;
  static constexpr std::int64_t kWidth = 24, kHeads = 3, kValueWidth = 9;
  const std::vector<std::int64_t> lengths_ = {70, 1, 20, 5};
  const std::vector<std::int64_t> key_lengths_ = {45, 3, 300, 17};

  LayoutInvarianceTest() {
    config_.embed_dim = kWidth;
    config_.num_heads = kHeads;
    config_.vdim = kValueWidth;
    config_.add_bias_kv = true;
    config_.batch_first = true;
    attention_ =
        std::get<0>(GetParam()).make(config_, MakeWeights(config_, dtype_, 7));
    padded_.query = query_.view();
    padded_.key = key_.view();
    padded_.value = value_.view();
    padded_.masked_row_policy = MaskedRowPolicy::kZero;
    SetMasks(std::get<2>(GetParam()));
  }

  void SetMasks(Masks masks) {
    for (std::size_t n = 0; n < kBatch; ++n) {
      lens_.data<std::int64_t>()[n] = key_lengths_[n];
      for (std::size_t j = 0; j < kKeys; ++j) {
        padding_.data<bool>()[n * kKeys + j] =
            static_cast<std::int64_t>(j) >= key_lengths_[n] || j % 5 == n;
      }
    }
    if (masks == Masks::kHoles) {
      padded_.key_padding_mask = padding_.view();
    } else {
      padded_.valid_lens = lens_.view();
    }
    if (masks == Masks::kMatrices) padded_.attn_mask = matrices_.view();
    if (masks == Masks::kTopLeft) padded_.causal = Causal::kTopLeft;
    if (masks == Masks::kBottomRight) padded_.causal = Causal::kBottomRight;
  }

  // Keep a tensor for as long as the test runs.
  TensorView Keep(Tensor tensor) {
    storage_.push_back(std::move(tensor));
    return storage_.back().view();
  }

  // Sequence n as a batch of one, cut to the lengths.
  AttentionInputs Single(std::int64_t n, std::int64_t length,
                         std::int64_t keys) {
    AttentionInputs inputs = padded_;
    inputs.query = Keep(Corner(padded_.query, n, length, kWidth));
    inputs.key = Keep(Corner(*padded_.key, n, keys, kWidth));
    inputs.value = Keep(Corner(*padded_.value, n, keys, kValueWidth));
    if (inputs.valid_lens) {
      inputs.valid_lens = Keep(Slice(*padded_.valid_lens, 0, n, 1));
    }
    if (inputs.key_padding_mask) {
      const Tensor one = Slice(*padded_.key_padding_mask, 0, n, 1);
      inputs.key_padding_mask = Keep(Slice(one.view(), 1, 0, keys));
    }
    if (inputs.attn_mask) {
      const Tensor heads = Slice(*padded_.attn_mask, 0, n * kHeads, kHeads);
      const Tensor top = Slice(heads.view(), 1, 0, length);
      inputs.attn_mask = Keep(Slice(top.view(), 2, 0, keys));
    }
    return inputs;
  }
  AttentionInputs Single(std::int64_t n) {
    return Single(n, LengthOf(n), KeysOf(n));
  }
  std::int64_t LengthOf(std::int64_t n) const {
    return lengths_[static_cast<std::size_t>(n)];
  }
  std::int64_t KeysOf(std::int64_t n) const {
    return key_lengths_[static_cast<std::size_t>(n)];
  }

  // The rows of a padded tensor that are no padding.
  TensorView Pack(const TensorView& padded,
                  const std::vector<std::int64_t>& lengths) {
    const std::int64_t width = padded.shape.back();
    Tensor packed(padded.dtype,
                  {std::reduce(lengths.begin(), lengths.end()), width});
    std::byte* target = packed.mutable_view().data;
    std::int64_t n = 0;
    for (const std::int64_t length : lengths) {
      const Tensor rows = Corner(padded, n++, length, width);
      std::memcpy(target, rows.view().data, rows.num_bytes());
      target += rows.num_bytes();
    }
    return Keep(std::move(packed));
  }
  AttentionInputs Ragged() {
    AttentionInputs inputs = padded_;
    inputs.query = Pack(padded_.query, lengths_);
    inputs.key = Pack(*padded_.key, key_lengths_);
    inputs.value = Pack(*padded_.value, key_lengths_);
    inputs.query_lengths = lengths_;
    inputs.key_lengths = key_lengths_;
    return inputs;
  }

  Answer Run(const AttentionInputs& inputs, std::size_t num_threads) {
    ComputePool pool(num_threads, Pinning::kNone, kNoReserve);
    return Compute(*attention_, config_, inputs, pool);
  }

  // Expect the answer to a batch of one within matrices n of a batch's weights.
  static void ExpectWeights(const Answer& batch, std::int64_t n,
                            const Answer& single, std::int64_t keys) {
    ASSERT_EQ(batch.weights.has_value(), single.weights.has_value());
    if (!batch.weights) return;
    const std::int64_t rows = single.output.shape().dim(1);
    EXPECT_TRUE(
        IsIdentical(Corner(batch.weights->view(), n, rows, keys).view(),
                    Corner(single.weights->view(), 0, rows, keys).view()));
  }

  // Call `check` with no weights, averaged ones, and those of each head.
  template <typename Check>
  void ForEachKindOfWeights(const Check& check) {
    for (const std::string_view kind : {"no", "averaged", "each head's"}) {
      SCOPED_TRACE(std::string(kind) + " weights");
      padded_.need_weights = kind != "no";
      padded_.average_attn_weights = kind == "averaged";
      check();
    }
  }

  MultiHeadAttentionConfig config_;
  std::unique_ptr<ModuleImplementation> attention_;
  AttentionInputs padded_;

 private:
  const DataType dtype_ = std::get<1>(GetParam());
  const Tensor query_ = RandomTensor(dtype_, {kBatch, kLength, kWidth}, 1);
  const Tensor key_ = RandomTensor(dtype_, {kBatch, kKeys, kWidth}, 2);
  const Tensor value_ = RandomTensor(dtype_, {kBatch, kKeys, kValueWidth}, 3);
  const Tensor matrices_ =
      RandomTensor(dtype_, {kBatch * kHeads, kLength, kKeys}, 4);
  Tensor padding_{DataType::kBool, {kBatch, kKeys}};
  Tensor lens_{DataType::kInt64, {kBatch}};
  std::vector<Tensor> storage_;
};

TEST_P(LayoutInvarianceTest, PaddedBatchEqualsPaddedSingles) {
  ForEachKindOfWeights([&] {
    const Answer batch = Run(padded_, /*num_threads=*/3);
    for (std::int64_t n = 0; n < kBatch; ++n) {
      SCOPED_TRACE("sequence " + std::to_string(n));
      const Answer single = Run(Single(n, kLength, kKeys), /*num_threads=*/1);
      EXPECT_TRUE(IsIdentical(Slice(batch.output.view(), 0, n, 1).view(),
                              single.output.view()));
      ExpectWeights(batch, n, single, kKeys + 1);
    }
  });
}

TEST_P(LayoutInvarianceTest, RaggedBatchEqualsSingles) {
  ForEachKindOfWeights([&] {
    const Answer batch = Run(Ragged(), /*num_threads=*/3);
    std::int64_t first = 0;
    for (std::int64_t n = 0; n < kBatch; ++n) {
      SCOPED_TRACE("sequence " + std::to_string(n));
      const Answer single = Run(Single(n), /*num_threads=*/1);
      const Tensor rows = Slice(batch.output.view(), 0, first, LengthOf(n));
      EXPECT_TRUE(IsIdentical(
          {rows.view().data, rows.dtype(), Shape{1, LengthOf(n), kWidth}},
          single.output.view()));
      ExpectWeights(batch, n, single, KeysOf(n));
      first += LengthOf(n);
    }
  });
}

// Bottom-right causality, which counts from the padded end, is another mask.
using PaddingInvarianceTest = LayoutInvarianceTest;

TEST_P(PaddingInvarianceTest, PaddedBatchEqualsUnpaddedSingles) {
  ForEachKindOfWeights([&] {
    const Answer batch = Run(padded_, /*num_threads=*/3);
    for (std::int64_t n = 0; n < kBatch; ++n) {
      SCOPED_TRACE("sequence " + std::to_string(n));
      const Answer single = Run(Single(n), /*num_threads=*/1);
      EXPECT_TRUE(IsIdentical(
          Corner(batch.output.view(), n, LengthOf(n), kWidth).view(),
          single.output.view()));
      ExpectWeights(batch, n, single, KeysOf(n));
    }
  });
}

auto AllKindsAndDtypesWith(const std::vector<Masks>& masks) {
  return ::testing::Combine(
      ::testing::ValuesIn(InvariantKinds()),
      ::testing::Values(DataType::kFloat32, DataType::kBFloat16,
                        DataType::kFloat16),
      ::testing::ValuesIn(masks));
}

INSTANTIATE_TEST_SUITE_P(
    All, LayoutInvarianceTest,
    AllKindsAndDtypesWith({Masks::kLengths, Masks::kHoles, Masks::kMatrices,
                           Masks::kTopLeft, Masks::kBottomRight}),
    NameOf);
INSTANTIATE_TEST_SUITE_P(All, PaddingInvarianceTest,
                         AllKindsAndDtypesWith({Masks::kLengths, Masks::kHoles,
                                                Masks::kMatrices,
                                                Masks::kTopLeft}),
                         NameOf);

}  // namespace
}  // namespace attention::testing
