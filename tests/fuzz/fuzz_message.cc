// SPDX-License-Identifier: Apache-2.0
// Take a message as the server does: scan and parse it, decode it, resolve it
// against a module of each layout, and read what the result claims to view.
//
//   fuzz_message -max_len=4096 CORPUS tests/fuzz/seeds/fuzz_message
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "attention/v1/attention_service.pb.h"
#include "core/attention/request_plan.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/forward_scan.h"

namespace attention {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::cerr << "fuzz_message: " << what << '\n';
  std::abort();
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
  google::protobuf::io::ArrayInputStream stream(data, length, /*block_size=*/7);
  attention::Require(attention::CountStreamRequestElementBytes(&stream) <= size,
                     "more elements than bytes");
  attention::v1::ForwardStreamRequest message;
  if (message.ParseFromArray(data, length)) {
    attention::Resolve(message.request());
  }
  return 0;
}
