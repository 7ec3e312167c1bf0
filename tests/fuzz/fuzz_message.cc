// SPDX-License-Identifier: Apache-2.0
// Take a message as the server does: take it apart, which must give what
// protobuf makes of it, decode it, resolve it
// against a module of each layout, and read what the result claims to view.
//
//   fuzz_message -max_len=4096 CORPUS tests/fuzz/seeds/fuzz_message
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <span>

#include "attention/v1/attention_service.pb.h"
#include "core/attention/request_plan.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/forward_outline.h"

namespace attention {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::cerr << "fuzz_message: " << what << '\n';
  std::abort();
}

// The elements an outline names are those that protobuf has copied.
void RequireElements(std::span<const std::uint8_t> bytes,
                     const ForwardOutline& outline,
                     const v1::ForwardRequest& message) {
  const ForwardElements elements = ElementsOf(message);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const ByteRange& range = outline.elements[i];
    Require(std::ranges::equal(
                std::as_bytes(bytes.subspan(range.first, range.count)),
                elements[i]),
            "other elements than protobuf's");
  }
}

// All but the elements is what protobuf made of the whole.
void RequireFields(const v1::ForwardStreamRequest& fields,
                   v1::ForwardStreamRequest message) {
  if (message.has_request()) {
    v1::ForwardRequest& request = *message.mutable_request();
    for (v1::Tensor* tensor :
         {request.has_query() ? request.mutable_query() : nullptr,
          request.has_key() ? request.mutable_key() : nullptr,
          request.has_value() ? request.mutable_value() : nullptr,
          request.has_attn_mask() ? request.mutable_attn_mask() : nullptr,
          request.has_key_padding_mask() ? request.mutable_key_padding_mask()
                                         : nullptr,
          request.has_valid_lens() ? request.mutable_valid_lens() : nullptr}) {
      if (tensor != nullptr) tensor->clear_data();
    }
  }
  Require(fields.SerializeAsString() == message.SerializeAsString(),
          "other fields than protobuf's");
}

// Reads every row a sequence names, for AddressSanitizer to see.
void ReadRows(const AttentionInputs& inputs, const RequestPlan& request) {
  const TensorView& key = inputs.key ? *inputs.key : inputs.query;
  const TensorView& value = inputs.value ? *inputs.value : key;
  std::size_t sum = 0;
  const auto read = [&](const TensorView& view, const std::byte* row) {
    const std::size_t row_bytes =
        static_cast<std::size_t>(view.shape.back()) * DataTypeSize(view.dtype);
    Require(row >= view.data && row + row_bytes <= view.data + view.num_bytes(),
            "a row lies outside");
    for (std::size_t i = 0; i < row_bytes; ++i) {
      sum += static_cast<std::size_t>(row[i]);
    }
  };
  for (const Sequence& sequence : request.sequences) {
    for (std::int64_t i = 0; i < sequence.query_length; ++i) {
      read(inputs.query, sequence.query.row(i));
    }
    for (std::int64_t k = 0; k < sequence.num_visible; ++k) {
      const std::int64_t j = sequence.visible_key(k);
      Require(j >= 0 && j < sequence.key_length, "a key lies outside");
      read(key, sequence.key.row(j));
      read(value, sequence.value.row(j));
    }
  }
  // So that the reads are not optimised away.
  if (sum == SIZE_MAX) std::cerr << "fuzz_message: an unlikely sum\n";
}

void Resolve(const v1::ForwardRequest& message) {
  const absl::StatusOr<AttentionInputs> inputs = DecodeForwardRequest(message);
  if (!inputs.ok()) return;
  for (const bool batch_first : {false, true}) {
    MultiHeadAttentionConfig config;
    config.embed_dim = 4;
    config.num_heads = 2;
    config.add_zero_attn = batch_first;
    config.batch_first = batch_first;
    const auto request = ResolveRequest(config, *inputs);
    if (request.ok()) ReadRows(*inputs, **request);
  }
}

}  // namespace
}  // namespace attention

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  static const google::protobuf::LogSilencer quiet;
  const int length = static_cast<int>(size);
  using google::protobuf::io::ArrayInputStream;
  ArrayInputStream counted(data, length, /*block_size=*/7);
  attention::Require(
      attention::CountStreamRequestElementBytes({&counted, size}) <= size,
      "more elements than bytes");
  ArrayInputStream stream(data, length, /*block_size=*/7);
  const auto outline = attention::OutlineStreamRequest({&stream, size});
  attention::v1::ForwardStreamRequest message;
  const bool is_parsed = message.ParseFromArray(data, length);
  attention::v1::ForwardStreamRequest fields;
  attention::Require(
      (outline && fields.ParseFromString(outline->fields)) == is_parsed,
      "protobuf thinks otherwise");
  if (!is_parsed) return 0;
  attention::RequireElements({data, size}, *outline, message.request());
  attention::RequireFields(fields, message);
  attention::Resolve(message.request());
  return 0;
}
