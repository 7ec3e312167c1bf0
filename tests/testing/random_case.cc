// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/random_case.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "core/tensor/convert.h"
#include "core/tensor/random_tensor.h"
#include "tests/testing/attention_case.h"

namespace attention::testing {
namespace {

using Dims = std::vector<std::int64_t>;

// Draws a RandomCase field by field.
class CaseMaker {
 public:
  CaseMaker(DataType dtype, RandomCase& result)
      : random_(result.seed), dtype_(dtype), case_(result) {}

  void Make() {
    MakeConfig();
    MakeSizes();
    MakeTensors();
    MakeFlags();
    MakeMasks();
  }

 private:
  enum class Layout : std::uint8_t { kUnbatched, kBatched, kRagged };

  bool OneIn(std::uint64_t count) { return random_() % count == 0; }
  template <typename Value>
  Value Pick(std::initializer_list<Value> values) {
    return values.begin()[random_() % values.size()];
  }

  void MakeConfig() {
    MultiHeadAttentionConfig& config = case_.config;
    config.num_heads = Pick<std::int64_t>({1, 2, 3, 4, 8});
    config.embed_dim = config.num_heads * Pick<std::int64_t>({1, 4, 5, 16, 33});
    config.bias = OneIn(2);
    config.add_bias_kv = OneIn(3);
    config.add_zero_attn = OneIn(3);
    config.batch_first = OneIn(2);
    config.dropout = OneIn(4) ? 0.3 : 0.0;
    key_is_query_ = OneIn(4);
    value_is_key_ = OneIn(4);
    if (OneIn(6)) {
      config.kdim = config.embed_dim;  // what it would be anyway
    } else if (!key_is_query_ && OneIn(3)) {
      config.kdim = Pick<std::int64_t>({1, 7, 20});
    }
    if (value_is_key_) {
      config.vdim = config.kdim;
    } else if (OneIn(3)) {
      config.vdim = Pick<std::int64_t>({1, 7, 20});
    }
    case_.weights_dtype = OneIn(3) ? OtherDtype() : dtype_;
  }

  DataType OtherDtype() {
    if (dtype_ != DataType::kFloat32) return DataType::kFloat32;
    return Pick({DataType::kBFloat16, DataType::kFloat16});
  }

  void MakeSizes() {
    layout_ = Pick({Layout::kUnbatched, Layout::kBatched, Layout::kBatched,
                    Layout::kRagged});
    if (layout_ != Layout::kUnbatched) batch_ = Pick<std::int64_t>({1, 2, 3});
    length_ = Pick<std::int64_t>({1, 3, 17, 64, 70});
    keys_ = Pick<std::int64_t>({1, 5, 16, 33, 90});
    if (OneIn(10)) {
      // Only a dense batch can be without sequences.
      *Pick({&length_, &keys_,
             layout_ == Layout::kBatched ? &batch_ : &length_}) = 0;
    }
    if (key_is_query_) keys_ = length_;
    if (layout_ != Layout::kRagged) return;
    case_.inputs.query_lengths = Lengths(length_);
    if (!key_is_query_) case_.inputs.key_lengths = Lengths(keys_);
  }

  // Lengths of a ragged batch's sequences, of which one is the longest.
  std::vector<std::int64_t> Lengths(std::int64_t longest) {
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(batch_));
    for (std::int64_t& length : lengths) {
      length = std::min(longest, Pick<std::int64_t>({0, 1, 2, 9, 33}));
    }
    lengths[random_() % lengths.size()] = longest;
    return lengths;
  }

  void MakeTensors() {
    AttentionInputs& inputs = case_.inputs;
    const MultiHeadAttentionConfig& config = case_.config;
    const auto& query_lengths = inputs.query_lengths;
    const auto& key_lengths =
        key_is_query_ ? query_lengths : inputs.key_lengths;
    inputs.query = Random(RowDims(length_, query_lengths, config.embed_dim));
    if (!key_is_query_) {
      inputs.key = Random(RowDims(keys_, key_lengths, config.key_dim()));
    }
    if (!value_is_key_) {
      inputs.value = Random(RowDims(keys_, key_lengths, config.value_dim()));
    }
  }

  // Dimensions of a tensor of rows: dense of one length, or ragged.
  [[nodiscard]] Dims RowDims(std::int64_t length,
                             const std::vector<std::int64_t>& lengths,
                             std::int64_t width) const {
    switch (layout_) {
      case Layout::kUnbatched:
        return {length, width};
      case Layout::kRagged:
        return {std::reduce(lengths.begin(), lengths.end()), width};
      case Layout::kBatched:
        break;
    }
    if (case_.config.batch_first) return {batch_, length, width};
    return {length, batch_, width};
  }

  void MakeFlags() {
    AttentionInputs& inputs = case_.inputs;
    inputs.need_weights = OneIn(2);
    inputs.average_attn_weights = OneIn(2);
    inputs.training = OneIn(2);
    inputs.dropout_seed = case_.seed;
    inputs.masked_row_policy =
        Pick({MaskedRowPolicy::kTorch, MaskedRowPolicy::kTorch,
              MaskedRowPolicy::kZero, MaskedRowPolicy::kNaN});
    inputs.causal = Pick(
        {Causal::kNone, Causal::kNone, Causal::kTopLeft, Causal::kBottomRight});
  }

  void MakeMasks() {
    AttentionInputs& inputs = case_.inputs;
    if (OneIn(2)) {
      Dims dims = {length_, keys_};
      if (OneIn(2)) dims.insert(dims.begin(), batch_ * case_.config.num_heads);
      inputs.attn_mask = Mask(dims);
      inputs.is_causal = OneIn(3);
    }
    if (OneIn(2)) {
      Dims dims = {keys_};
      if (layout_ != Layout::kUnbatched) dims.insert(dims.begin(), batch_);
      inputs.key_padding_mask = Mask(dims);
    }
    if (OneIn(4)) {
      inputs.valid_lens = OneIn(2) ? ValidLens<std::int32_t>(DataType::kInt32)
                                   : ValidLens<std::int64_t>(DataType::kInt64);
    }
  }

  // A mask that hides about a quarter of its elements.
  TensorView Mask(const Dims& dims) {
    const DataType dtype = Pick({DataType::kBool, DataType::kBool, dtype_,
                                 DataType::kFloat32, DataType::kFloat64});
    Tensor mask(dtype, *Shape::Create(dims));
    std::byte* element = mask.mutable_view().data;
    for (std::int64_t i = 0; i < mask.shape().num_elements(); ++i) {
      if (dtype == DataType::kBool) {
        *element = std::byte{OneIn(4)};
      } else {
        const double value = MaskValue();
        StoreReals(&value, 1, dtype, element);
      }
      element += DataTypeSize(dtype);
    }
    return Keep(std::move(mask));
  }

  double MaskValue() {
    // A row that saw such columns alone would lose its scores in rounding;
    // appended columns, which masks do not touch, keep it well-conditioned.
    if ((case_.config.add_bias_kv || case_.config.add_zero_attn) && OneIn(8))
      return -1e9;
    if (OneIn(4)) return -std::numeric_limits<double>::infinity();
    return Pick({0.0, 1.0, -2.0});
  }

  template <typename Integer>
  TensorView ValidLens(DataType dtype) {
    const bool per_row = OneIn(2);
    Tensor lens(dtype, per_row ? Shape{batch_, length_} : Shape{batch_});
    for (Integer& length : lens.data<Integer>()) {
      length = static_cast<Integer>(
          Pick<std::int64_t>({-5, 0, 1, 4, keys_, keys_ + 3}));
    }
    return Keep(std::move(lens));
  }

  TensorView Random(const Dims& dims) {
    return Keep(
        RandomTensor(dtype_, *Shape::Create(dims), case_.seed, ++stream_));
  }

  TensorView Keep(Tensor tensor) {
    case_.storage.push_back(std::make_unique<Tensor>(std::move(tensor)));
    return case_.storage.back()->view();
  }

  std::mt19937_64 random_;
  const DataType dtype_;
  RandomCase& case_;
  std::uint32_t stream_ = 100;  // MakeWeights uses the lower ones
  bool key_is_query_ = false, value_is_key_ = false;
  Layout layout_ = Layout::kBatched;
  std::int64_t batch_ = 1, length_ = 0, keys_ = 0;
};

}  // namespace

RandomCase::RandomCase(std::uint64_t case_seed, DataType dtype)
    : seed(case_seed), weights_dtype(dtype) {
  CaseMaker(dtype, *this).Make();
}

ModuleWeights RandomCase::Weights() const {
  return MakeWeights(config, weights_dtype, seed);
}

}  // namespace attention::testing
