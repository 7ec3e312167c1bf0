// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/testing/attention_case.h"

namespace attention::testing {

/// A module and what its requests may ask for.
struct Model {
  ModuleConfig config;
  std::int64_t num_heads;
  std::int64_t query_width;
  std::int64_t key_width;
  std::int64_t value_width;
  std::int64_t output_width;
  bool self_attention = false;
  bool has_weights = true;
  bool is_d2l = false;
  bool appends = false;
};

/// One of each kind, small, with odd widths and dropout.
[[nodiscard]] std::vector<Model> Models();

enum class MaskKind : std::uint8_t { kNone, kBool, kAdditive };

/// What the requests of a mixture have in common.
struct Style {
  DataType dtype = DataType::kFloat32;
  MaskKind attn_mask = MaskKind::kNone;
  bool mask_by_head = false;  ///< else (L, S), alike for all
  MaskKind padding = MaskKind::kNone;
  bool valid_lens = false;
  bool valid_lens_by_row = false;
  bool padded = false;  ///< else ragged
  Causal causal = Causal::kNone;
  bool need_weights = false;
  bool average = false;
  bool training = false;
  std::uint64_t seed = 0;
};

/// A style in words, for messages.
[[nodiscard]] std::string Describe(const Style& style);

/// One request: its contents follow from its id, whatever the mixture.
struct Member {
  std::uint64_t id = 0;
  std::int64_t length = 0;
  std::int64_t keys = 0;
};

/// A request of several members, padded or ragged. What is padding holds NaN,
/// so that reading it shows. Owns its tensors; not thread-safe to make.
/// Lifetime: borrows the model.
class Mixture {
 public:
  Mixture(const Model& model, const Style& style, std::vector<Member> members);

  [[nodiscard]] const AttentionInputs& inputs() const { return inputs_; }

  /// The bytes of member n's answer: output rows, then weights.
  [[nodiscard]] std::vector<std::byte> AnswerOf(const Answer& answer,
                                                std::size_t n) const;

 private:
  enum class Part : std::uint8_t { kQuery, kKey, kValue };

  [[nodiscard]] std::int64_t element_size() const;
  [[nodiscard]] std::int64_t batch() const;
  [[nodiscard]] std::int64_t FirstRow(std::size_t n) const;
  void AppendWeights(const Tensor& weights, std::size_t n,
                     std::vector<std::byte>& to) const;

  TensorView Keep(Tensor tensor);
  TensorView Rows(Part part, std::int64_t width);
  void AddRows();
  void AddFlags();
  void AddAttnMask();
  void AddPadding();
  void AddValidLens();

  const Model& model_;
  const Style style_;
  std::vector<Member> members_;
  std::int64_t length_ = 0;
  std::int64_t keys_ = 0;
  AttentionInputs inputs_;
  std::vector<Tensor> storage_;
};

/// One caller's request: of a style of its own, its tensors in memory of its
/// own. Lifetime: borrows the model.
struct OwnedRequest {
  OwnedRequest(const Model& model, const Style& style,
               std::vector<Member> members);

  Mixture mixture;
  std::unique_ptr<RequestPlan> request;
  Answer answer;
  std::function<bool()> stop;  ///< as Bind's
};
using OwnedRequests = std::vector<std::unique_ptr<OwnedRequest>>;

/// Bind requests to their answers; return the sequences of all of them, which
/// one pass may compute.
[[nodiscard]] std::vector<Sequence> BindAll(const OwnedRequests& requests);

/// Draws what models are asked for. Not thread-safe.
struct Draws {
  std::mt19937_64 random;

  [[nodiscard]] bool OneIn(std::uint64_t count) {
    return random() % count == 0;
  }
  [[nodiscard]] Style DrawStyle(const Model& model);
  /// Mostly of a few rows; one of 40 long, and some of these more than 1024.
  [[nodiscard]] std::vector<Member> DrawMembers(const Model& model);
  /// Requests of all styles, padded and ragged. Lifetime: they borrow the
  /// model.
  [[nodiscard]] OwnedRequests DrawRequests(const Model& model, int count);
};

}  // namespace attention::testing
