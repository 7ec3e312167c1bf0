// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/safetensors_index.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/safetensors/safetensors.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"

namespace attention {
namespace {

/// Receives the index's JSON event by event and keeps the strings of its
/// weight_map, without ever building a tree.
class IndexHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Value("null"); }
  bool boolean(bool /*value*/) override { return Value("a boolean"); }
  bool number_integer(number_integer_t /*value*/) override {
    return Value("a number");
  }
  bool number_unsigned(number_unsigned_t /*value*/) override {
    return Value("a number");
  }
  bool number_float(number_float_t /*value*/,
                    const string_t& /*text*/) override {
    return Value("a number");
  }
  bool binary(binary_t& /*value*/) override { return Value("binary"); }

  bool string(string_t& value) override {
    if (!in_weight_map_ || depth_ != kMapDepth) return Value("a string");
    if (index_.size() >= kMaxSafetensorsIndexEntries) {
      return Fail(
          FormatText("more than {} tensors", kMaxSafetensorsIndexEntries));
    }
    if (!CheckName(value)) return false;
    if (index_.emplace(std::move(key_), std::move(value)).second) return true;
    return Fail("a duplicate name");
  }

  bool start_object(std::size_t /*size*/) override {
    if (in_weight_map_ && depth_ == kMapDepth) return Value("an object");
    ++depth_;
    if (depth_ != kMapDepth || key_ != kWeightMap) return true;
    in_weight_map_ = true;
    if (!std::exchange(seen_weight_map_, true)) return true;
    return Fail("a duplicate weight_map");
  }
  bool end_object() override {
    if (depth_-- == kMapDepth) in_weight_map_ = false;
    return true;
  }
  bool start_array(std::size_t /*size*/) override {
    if (!Value("an array")) return false;
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool key(string_t& value) override {
    // Keys deeper than the weight_map are nobody's.
    if (depth_ > kMapDepth) return true;
    key_ = std::move(value);
    return !in_weight_map_ || CheckName(key_);
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return Fail(FormatText("malformed JSON at byte {}", position));
  }

  /// \return what was read, or the first error.
  absl::StatusOr<SafetensorsIndex> Finish() && {
    if (!seen_weight_map_) Fail("expected an object with a weight_map");
    if (!status_.ok()) return status_;
    return std::move(index_);
  }

 private:
  static constexpr std::string_view kWeightMap = "weight_map";
  static constexpr int kMapDepth = 2;

  bool Fail(const std::string& what) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError("safetensors index: " + what);
    }
    return false;
  }

  // A value that is none of weight_map's strings.
  bool Value(std::string_view got) {
    if (!in_weight_map_ || depth_ != kMapDepth) return true;
    return Fail(FormatText("the file of tensor {} is {}, expected a string",
                           Quote(key_), got));
  }

  bool CheckName(const std::string& name) {
    if (!name.empty() && name.size() <= SafetensorsView::kMaxNameBytes) {
      return true;
    }
    return Fail(FormatText("name {}, expected 1 to {} bytes", Quote(name),
                           SafetensorsView::kMaxNameBytes));
  }

  absl::Status status_;
  SafetensorsIndex index_;
  std::string key_;
  int depth_ = 0;
  bool in_weight_map_ = false;
  bool seen_weight_map_ = false;
};

}  // namespace

absl::StatusOr<SafetensorsIndex> ParseSafetensorsIndex(std::string_view json) {
  IndexHandler handler;
  // The outcome is in the handler, which fails whenever the parser does.
  static_cast<void>(
      nlohmann::json::sax_parse(json.begin(), json.end(), &handler));
  return std::move(handler).Finish();
}

}  // namespace attention
