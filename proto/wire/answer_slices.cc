// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/answer_slices.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/slice.h>

#include <string>
#include <utility>
#include <vector>

namespace attention {
namespace {

using google::protobuf::internal::WireFormatLite;
using AnswerPointer = std::shared_ptr<const v1::ForwardResponse>;

// Everything beside the elements: tags, lengths, two shapes, numbers.
constexpr std::size_t kMaxEnvelopeBytes = 512;

std::string FieldHeader(int field, std::size_t num_bytes) {
  std::string header;
  google::protobuf::io::StringOutputStream stream(&header);
  google::protobuf::io::CodedOutputStream out(&stream);
  out.WriteTag(WireFormatLite::MakeTag(
      field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  out.WriteVarint64(num_bytes);
  out.Trim();
  return header;
}

// A slice of `data`, which lives in `answer`.
grpc::Slice Borrow(const std::string& data, const AnswerPointer& answer) {
  auto* owner = new AnswerPointer(answer);  // deleted by the slice
  return {const_cast<char*>(data.data()), data.size(),
          [](void* pointer) { delete static_cast<AnswerPointer*>(pointer); },
          owner};
}

// The slices of a message, in the order they are written.
class Slices {
 public:
  explicit Slices(AnswerPointer answer) : answer_(std::move(answer)) {}

  void Append(const std::string& bytes) {
    if (!bytes.empty()) Append(grpc::Slice(bytes));
  }

  // The tensor as a field: its few small fields, then its elements in place.
  void AppendTensor(int field, const v1::Tensor& tensor) {
    v1::Tensor small;
    small.set_dtype(tensor.dtype());
    *small.mutable_shape() = tensor.shape();
    const std::string body =
        small.SerializeAsString() +
        FieldHeader(v1::Tensor::kDataFieldNumber, tensor.data().size());
    Append(FieldHeader(field, body.size() + tensor.data().size()) + body);
    if (!tensor.data().empty()) Append(Borrow(tensor.data(), answer_));
  }

  void Prepend(const std::string& bytes) {
    num_bytes_ += bytes.size();
    slices_.insert(slices_.begin(), grpc::Slice(bytes));
  }

  [[nodiscard]] std::size_t num_bytes() const { return num_bytes_; }
  [[nodiscard]] grpc::ByteBuffer Join() const {
    return {slices_.data(), slices_.size()};
  }

 private:
  void Append(grpc::Slice slice) {
    num_bytes_ += slice.size();
    slices_.push_back(std::move(slice));
  }

  AnswerPointer answer_;
  std::vector<grpc::Slice> slices_;
  std::size_t num_bytes_ = 0;
};

// Field by field; protobuf accepts fields in any order.
Slices SliceResponse(const AnswerPointer& answer) {
  const v1::ForwardResponse& response = *answer;
  Slices slices(answer);
  if (response.has_output()) {
    slices.AppendTensor(v1::ForwardResponse::kOutputFieldNumber,
                        response.output());
  }
  if (response.has_weights()) {
    slices.AppendTensor(v1::ForwardResponse::kWeightsFieldNumber,
                        response.weights());
  }
  v1::ForwardResponse small;
  small.set_module_version(response.module_version());
  small.set_batch_size(response.batch_size());
  *small.mutable_timing() = response.timing();
  slices.Append(small.SerializeAsString());
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

grpc::ByteBuffer SerializeAnswer(const AnswerPointer& answer) {
  return SliceResponse(answer).Join();
}

grpc::ByteBuffer SerializeStreamAnswer(std::uint64_t id,
                                       const AnswerPointer& answer) {
  Slices slices = SliceResponse(answer);
  v1::ForwardStreamResponse envelope;
  envelope.set_id(id);
  slices.Prepend(envelope.SerializeAsString() +
                 FieldHeader(v1::ForwardStreamResponse::kResponseFieldNumber,
                             slices.num_bytes()));
  return slices.Join();
}

}  // namespace attention
