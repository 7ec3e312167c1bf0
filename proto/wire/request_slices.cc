// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/request_slices.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <array>
#include <optional>
#include <string>

#include "core/tensor/format_text.h"
#include "core/tensor/round_up.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/forward_outline.h"
#include "proto/wire/message_slices.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

absl::Status Malformed(std::string_view why) {
  return absl::InternalError(
      FormatText("malformed answer from the server: {}", why));
}

// Read an answer's tensor, whose elements go to `to` or, without it, to
// `memory`, whatever is there.
absl::StatusOr<TensorView> ReadTensor(const v1::Tensor& message,
                                      std::size_t num_bytes,
                                      const MutableTensorView* to,
                                      std::byte* memory,
                                      std::string_view where) {
  absl::StatusOr<TensorView> view = DecodeTensorType(message, num_bytes, where);
  if (!view.ok()) return Malformed(StatusText(view.status()));
  view->data = to == nullptr ? memory : to->data;
  if (to == nullptr || (view->dtype == to->dtype && view->shape == to->shape)) {
    return view;
  }
  return absl::InvalidArgumentError(
      FormatText("{}: the answer is {} {}, expected memory for it, got {} {}",
                 where, DataTypeName(view->dtype), view->shape.ToString(),
                 DataTypeName(to->dtype), to->shape.ToString()));
}

// View the answer's tensors where their elements will go.
absl::Status ReadTensors(const ForwardOutline& outline,
                         const AttentionOutputs* into, ParsedAnswer* answer) {
  const v1::ForwardResponse& fields = answer->fields;
  const std::size_t output_bytes = outline.elements[0].count;
  const std::size_t weights_bytes = outline.elements[1].count;
  const std::size_t first_weight = RoundUp(output_bytes, kTensorAlignment);
  if (into == nullptr) {
    answer->memory = AlignedBuffer(first_weight + weights_bytes);
  } else if (fields.has_weights() != into->weights.has_value()) {
    return absl::InvalidArgumentError(
        fields.has_weights()
            ? "weights: the answer has some, expected memory for them, got none"
            : "weights: the answer has none, got memory for them");
  }
  ATTENTION_ASSIGN_OR_RETURN(
      answer->output, ReadTensor(fields.output(), output_bytes,
                                 into == nullptr ? nullptr : &into->output,
                                 answer->memory.data(), "output"));
  if (!fields.has_weights()) return absl::OkStatus();
  ATTENTION_ASSIGN_OR_RETURN(
      answer->weights,
      ReadTensor(
          fields.weights(), weights_bytes,
          into == nullptr ? nullptr : &*into->weights,
          into == nullptr ? answer->memory.data() + first_weight : nullptr,
          "weights"));
  return absl::OkStatus();
}

std::byte* Writable(const TensorView& view) {
  return const_cast<std::byte*>(view.data);  // memory of the answer's, or given
}

}  // namespace

grpc::ByteBuffer SerializeForwardRequest(
    std::string_view module, const AttentionInputs& inputs,
    const std::shared_ptr<const void>& owner) {
  MessageSlices slices;
  slices.Append(EncodeForwardFields(module, inputs).SerializeAsString());
  const auto tensors = TensorsOf(inputs);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i] == nullptr) continue;
    slices.AppendTensor(kForwardTensorFields[i], *tensors[i], owner);
  }
  return slices.Join();
}

absl::StatusOr<std::shared_ptr<const ParsedAnswer>> ParseAnswer(
    const grpc::ByteBuffer& message, const AttentionOutputs* into) {
  const auto answer = std::make_shared<ParsedAnswer>();
  grpc::ByteBuffer shared(message);  // as reading one takes no const one
  grpc::ProtoBufferReader reader(&shared);
  std::optional<ForwardOutline> outline;
  if (reader.status().ok()) {
    outline = OutlineResponse({&reader, message.Length()});
  }
  if (!outline || !answer->fields.ParseFromString(outline->fields)) {
    return Malformed("not a ForwardResponse");
  }
  ATTENTION_RETURN_IF_ERROR(ReadTensors(*outline, into, answer.get()));
  std::array<RangeCopy, 2> copies = {
      RangeCopy{outline->elements[0], Writable(answer->output)}};
  if (answer->weights) {
    copies[1] = {outline->elements[1], Writable(*answer->weights)};
  }
  CopyRanges(&shared, copies);
  return answer;
}

}  // namespace attention
