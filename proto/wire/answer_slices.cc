// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/answer_slices.h"

#include "proto/wire/message_slices.h"

namespace attention {
namespace {

// Everything beside the elements: tags, lengths, two shapes, numbers.
constexpr std::size_t kMaxEnvelopeBytes = 512;

MessageSlices SliceResponse(const ForwardAnswer& answer) {
  MessageSlices slices;
  slices.AppendTensor(v1::ForwardResponse::kOutputFieldNumber,
                      answer.outputs.output, answer.owner);
  if (answer.outputs.weights) {
    slices.AppendTensor(v1::ForwardResponse::kWeightsFieldNumber,
                        *answer.outputs.weights, answer.owner);
  }
  slices.Append(answer.fields.SerializeAsString());
  return slices;
}

}  // namespace

std::size_t AnswerBytes(const OutputShapes& shapes, DataType dtype) {
  // A Shape has at most 2^56 elements, so this cannot overflow.
  std::size_t elements = static_cast<std::size_t>(shapes.output.num_elements());
  if (shapes.weights) {
    elements += static_cast<std::size_t>(shapes.weights->num_elements());
  }
  return elements * DataTypeSize(dtype) + kMaxEnvelopeBytes;
}

grpc::ByteBuffer SerializeAnswer(const ForwardAnswer& answer) {
  return SliceResponse(answer).Join();
}

grpc::ByteBuffer SerializeStreamAnswer(std::uint64_t id,
                                       const ForwardAnswer& answer) {
  MessageSlices slices = SliceResponse(answer);
  v1::ForwardStreamResponse envelope;
  envelope.set_id(id);
  slices.Wrap(v1::ForwardStreamResponse::kResponseFieldNumber,
              envelope.SerializeAsString());
  return slices.Join();
}

}  // namespace attention
