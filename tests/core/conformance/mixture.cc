// SPDX-License-Identifier: Apache-2.0
#include "tests/core/conformance/mixture.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "core/tensor/random_tensor.h"

namespace attention::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A well-mixed word of a request's id and a place.
std::uint64_t Mix(std::uint64_t id, std::uint64_t place) {
  std::uint64_t x = id * 0x9E3779B97F4A7C15U + place;
  x = (x ^ (x >> 31U)) * 0xBF58476D1CE4E5B9U;
  return x ^ (x >> 29U);
}

std::size_t Size(std::int64_t count) { return static_cast<std::size_t>(count); }

void Append(const TensorView& from, std::int64_t first, std::int64_t count,
            std::vector<std::byte>& to) {
  to.insert(to.end(), from.data + first, from.data + first + count);
}

// A reservoir of values that all members draw theirs from.
const Tensor& Reservoir(DataType dtype) {
  static std::map<DataType, Tensor> reservoirs;
  if (!reservoirs.contains(dtype)) {
    reservoirs[dtype] = RandomTensor(dtype, {1 << 17U}, 5);
  }
  return reservoirs[dtype];
}

void Put(MaskKind kind, bool hidden, std::uint64_t word, std::byte* to) {
  if (kind == MaskKind::kBool) {
    *to = std::byte{hidden};
    return;
  }
  constexpr std::array kValues = {0.0F, 1.0F, -2.0F, 0.5F};
  const float value = hidden ? -kInfinity : kValues[word / 8 % 4];
  std::memcpy(to, &value, sizeof(value));
}

DataType DtypeOf(MaskKind kind) {
  return kind == MaskKind::kBool ? DataType::kBool : DataType::kFloat32;
}

MaskKind DrawMask(Draws& draws) {
  if (draws.OneIn(2)) return MaskKind::kNone;
  return draws.OneIn(2) ? MaskKind::kBool : MaskKind::kAdditive;
}

std::int64_t DrawLength(Draws& draws, std::int64_t longest) {
  std::int64_t limit = draws.OneIn(3) ? 80 : 12;
  if (draws.OneIn(40)) limit = longest;
  return 1 + static_cast<std::int64_t>(draws.random() %
                                       static_cast<std::uint64_t>(limit));
}

}  // namespace

std::vector<Model> Models() {
  MultiHeadAttentionConfig torch = {.embed_dim = 12, .num_heads = 3};
  torch.dropout = 0.25;
  torch.batch_first = true;
  MultiHeadAttentionConfig appended = {.embed_dim = 32, .num_heads = 2};
  appended.dropout = 0.25;
  appended.batch_first = true;
  appended.add_bias_kv = true;
  appended.add_zero_attn = true;
  appended.kdim = 7;
  const D2lMultiHeadAttentionConfig d2l = {
      .num_hiddens = 10, .num_heads = 2, .dropout = 0.25};
  const D2lDotProductAttentionConfig bare_d2l = {
      .query_size = 6, .value_size = 7, .dropout = 0.25};
  const ScaledDotProductAttentionConfig grouped = {.num_heads = 4,
                                                   .num_key_value_heads = 2,
                                                   .head_dim = 5,
                                                   .value_head_dim = 17,
                                                   .dropout = 0.25};
  TransformerEncoderLayerConfig layer = {
      .d_model = 16, .nhead = 2, .dim_feedforward = 40, .dropout = 0.25};
  layer.batch_first = true;
  return {{torch, 3, 12, 12, 12, 12},
          {appended, 2, 32, 7, 32, 32, false, true, false, true},
          {d2l, 2, 10, 10, 10, 10, false, true, true},
          {bare_d2l, 1, 6, 6, 7, 7, false, true, true},
          {grouped, 4, 20, 10, 34, 68},
          {layer, 2, 16, 16, 16, 16, true, false}};
}

std::string Describe(const Style& style) {
  return std::string(DataTypeName(style.dtype)) + " causal " +
         std::to_string(static_cast<int>(style.causal)) + " attn_mask " +
         std::to_string(static_cast<int>(style.attn_mask)) +
         (style.mask_by_head ? " by head" : "") + " padding " +
         std::to_string(static_cast<int>(style.padding)) +
         (style.valid_lens ? " valid_lens" : "") +
         (style.valid_lens_by_row ? " by row" : "") +
         (style.padded ? " padded" : " ragged") +
         (style.need_weights ? " weights" : "") +
         (style.average ? " averaged" : "") +
         (style.training ? " training" : "");
}

Mixture::Mixture(const Model& model, const Style& style,
                 std::vector<Member> members)
    : model_(model), style_(style), members_(std::move(members)) {
  for (const Member& member : members_) {
    length_ = std::max(length_, member.length);
    keys_ = std::max(keys_, member.keys);
  }
  AddRows();
  AddFlags();
  if (style.attn_mask != MaskKind::kNone) AddAttnMask();
  const bool pads = style.padded && !model.is_d2l;
  if (style.padding != MaskKind::kNone || pads) AddPadding();
  if (style.valid_lens) AddValidLens();
}

std::vector<std::byte> Mixture::AnswerOf(const Answer& answer,
                                         std::size_t n) const {
  std::vector<std::byte> bytes;
  const std::int64_t row_bytes = model_.output_width * element_size();
  Append(answer.output.view(), FirstRow(n) * row_bytes,
         members_[n].length * row_bytes, bytes);
  if (answer.weights) AppendWeights(*answer.weights, n, bytes);
  return bytes;
}

std::int64_t Mixture::element_size() const {
  return static_cast<std::int64_t>(DataTypeSize(style_.dtype));
}

std::int64_t Mixture::batch() const {
  return static_cast<std::int64_t>(members_.size());
}

std::int64_t Mixture::FirstRow(std::size_t n) const {
  if (style_.padded) return static_cast<std::int64_t>(n) * length_;
  std::int64_t first = 0;
  for (std::size_t m = 0; m < n; ++m) first += members_[m].length;
  return first;
}

// Of all heads and rows, the member's columns and those appended.
void Mixture::AppendWeights(const Tensor& weights, std::size_t n,
                            std::vector<std::byte>& to) const {
  const std::int64_t size = element_size();
  const std::int64_t columns = weights.shape().back();
  const std::int64_t heads = style_.average ? 1 : model_.num_heads;
  const Member& member = members_[n];
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < member.length; ++i) {
      const std::int64_t row =
          (static_cast<std::int64_t>(n) * heads + h) * length_ + i;
      const std::int64_t first = row * columns * size;
      Append(weights.view(), first, member.keys * size, to);
      Append(weights.view(), first + keys_ * size, (columns - keys_) * size,
             to);
    }
  }
}

TensorView Mixture::Keep(Tensor tensor) {
  storage_.push_back(std::move(tensor));
  return storage_.back().view();
}

TensorView Mixture::Rows(Part part, std::int64_t width) {
  const bool is_query = part == Part::kQuery;
  const std::int64_t longest = is_query ? length_ : keys_;
  std::int64_t rows = 0;
  for (const Member& member : members_) {
    rows += is_query ? member.length : member.keys;
  }
  Tensor tensor(style_.dtype, style_.padded ? Shape{batch(), longest, width}
                                            : Shape{rows, width});
  // What is padding: no number at all, so that reading it would show.
  std::memset(tensor.mutable_view().data, 0xFF, tensor.num_bytes());
  std::byte* to = tensor.mutable_view().data;
  const std::int64_t row_bytes = width * element_size();
  for (const Member& member : members_) {
    const std::int64_t count = is_query ? member.length : member.keys;
    const std::uint64_t start =
        Mix(member.id, 1 + static_cast<std::uint64_t>(part)) % 60'000;
    std::memcpy(
        to, Reservoir(style_.dtype).view().data + start * Size(element_size()),
        Size(count * row_bytes));
    to += (style_.padded ? longest : count) * row_bytes;
  }
  return Keep(std::move(tensor));
}

void Mixture::AddRows() {
  storage_.reserve(8);
  inputs_.query = Rows(Part::kQuery, model_.query_width);
  if (!model_.self_attention) {
    inputs_.key = Rows(Part::kKey, model_.key_width);
    inputs_.value = Rows(Part::kValue, model_.value_width);
  }
  if (style_.padded) return;
  for (const Member& member : members_) {
    inputs_.query_lengths.push_back(member.length);
    if (model_.self_attention) continue;
    inputs_.key_lengths.push_back(member.keys);
  }
}

void Mixture::AddFlags() {
  inputs_.causal = style_.causal;
  inputs_.need_weights = style_.need_weights;
  inputs_.average_attn_weights = style_.average;
  inputs_.training = style_.training;
  inputs_.dropout_seed = style_.seed;
}

void Mixture::AddAttnMask() {
  const std::int64_t heads = model_.num_heads;
  const std::int64_t matrices = style_.mask_by_head ? batch() * heads : 1;
  const DataType dtype = DtypeOf(style_.attn_mask);
  Tensor mask(dtype, style_.mask_by_head ? Shape{matrices, length_, keys_}
                                         : Shape{length_, keys_});
  std::byte* to = mask.mutable_view().data;
  for (std::int64_t m = 0; m < matrices; ++m) {
    std::uint64_t id = style_.seed;
    if (style_.mask_by_head) {
      id = Mix(members_[Size(m / heads)].id, Size(m % heads));
    }
    for (std::int64_t i = 0; i < length_; ++i) {
      for (std::int64_t j = 0; j < keys_; ++j) {
        const std::uint64_t word = Mix(id, Size(i) << 32U | Size(j));
        Put(style_.attn_mask, word % 4 == 0, word, to);
        to += DataTypeSize(dtype);
      }
    }
  }
  inputs_.attn_mask = Keep(std::move(mask));
}

// Holes, and what lies behind the keys of a member.
void Mixture::AddPadding() {
  const bool holes = style_.padding != MaskKind::kNone;
  const MaskKind kind = holes ? style_.padding : MaskKind::kBool;
  const DataType dtype = DtypeOf(kind);
  Tensor mask(dtype, {batch(), keys_});
  std::byte* to = mask.mutable_view().data;
  for (const Member& member : members_) {
    for (std::int64_t j = 0; j < keys_; ++j) {
      const std::uint64_t word = Mix(member.id, 77 + Size(j));
      const bool hole = holes && word % 4 == 0;
      Put(kind, hole || j >= member.keys, word, to);
      to += DataTypeSize(dtype);
    }
  }
  inputs_.key_padding_mask = Keep(std::move(mask));
}

void Mixture::AddValidLens() {
  const bool by_row = style_.valid_lens_by_row;
  Tensor lens(DataType::kInt64,
              by_row ? Shape{batch(), length_} : Shape{batch()});
  std::int64_t* to = lens.data<std::int64_t>().data();
  for (const Member& member : members_) {
    for (std::int64_t i = 0; i < (by_row ? length_ : 1); ++i) {
      const auto most = static_cast<std::uint64_t>(member.keys) + 3;
      // Rows behind the member's may not make more keys visible to it.
      const bool is_own = !by_row || i < member.length;
      const std::uint64_t word = is_own ? Mix(member.id, 991 + Size(i)) : 0;
      *to++ = static_cast<std::int64_t>(word % most);
    }
  }
  inputs_.valid_lens = Keep(std::move(lens));
}

OwnedRequest::OwnedRequest(const Model& model, const Style& style,
                           std::vector<Member> members)
    : mixture(model, style, std::move(members)),
      request(ResolveRequest(model.config, mixture.inputs()).value()),
      answer(MakeAnswer(*request)) {}

std::vector<Sequence> BindAll(const OwnedRequests& requests) {
  std::vector<Sequence> sequences;
  for (const auto& owned : requests) {
    owned->request->Bind(owned->answer.outputs(), owned->stop);
    sequences.insert(sequences.end(), owned->request->sequences.begin(),
                     owned->request->sequences.end());
  }
  return sequences;
}

Style Draws::DrawStyle(const Model& model) {
  Style style;
  style.seed = random();
  if (OneIn(4)) {
    style.dtype = OneIn(2) ? DataType::kBFloat16 : DataType::kFloat16;
  }
  style.attn_mask = DrawMask(*this);
  style.mask_by_head = OneIn(2);
  style.padding = DrawMask(*this);
  style.valid_lens = OneIn(model.is_d2l ? 2 : 4);
  style.valid_lens_by_row = OneIn(2);
  style.causal = std::array{Causal::kNone, Causal::kTopLeft,
                            Causal::kBottomRight}[random() % 3];
  style.need_weights = model.has_weights && OneIn(2);
  style.average = OneIn(2);
  style.training = OneIn(3);
  return style;
}

std::vector<Member> Draws::DrawMembers(const Model& model) {
  std::vector<Member> members(1 + random() % 6);
  for (Member& member : members) {
    member.id = random();
    member.length = DrawLength(*this, 700);
    member.keys =
        model.self_attention ? member.length : DrawLength(*this, 1100);
  }
  return members;
}

OwnedRequests Draws::DrawRequests(const Model& model, int count) {
  OwnedRequests requests;
  for (int i = 0; i < count; ++i) {
    Style style = DrawStyle(model);
    style.padded = OneIn(2);
    requests.push_back(
        std::make_unique<OwnedRequest>(model, style, DrawMembers(model)));
  }
  return requests;
}

}  // namespace attention::testing
