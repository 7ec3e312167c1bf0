// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/forward_scan.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "attention/v1/attention_service.pb.h"

namespace attention {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::ZeroCopyInputStream;

// Call visit(field, length) for each length-delimited field up to the end of
// the current message, and skip the others. `visit` consumes the field.
// \return false when the message is malformed.
template <typename Visit>
bool VisitFields(CodedInputStream& in, Visit visit) {
  while (const std::uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagWireType(tag) !=
        WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    int length = 0;
    if (!in.ReadVarintSizeAsInt(&length)) return false;
    if (!visit(WireFormatLite::GetTagFieldNumber(tag), length)) return false;
  }
  return true;
}

// Do `visit` within the next `length` bytes.
template <typename Visit>
bool VisitMessage(CodedInputStream& in, int length, Visit visit) {
  const CodedInputStream::Limit limit = in.PushLimit(length);
  const bool well_formed = VisitFields(in, visit);
  const bool complete = in.BytesUntilLimit() == 0;
  in.PopLimit(limit);
  return well_formed && complete;
}

bool IsTensor(int field) {
  switch (field) {
    case v1::ForwardRequest::kQueryFieldNumber:
    case v1::ForwardRequest::kKeyFieldNumber:
    case v1::ForwardRequest::kValueFieldNumber:
    case v1::ForwardRequest::kAttnMaskFieldNumber:
    case v1::ForwardRequest::kKeyPaddingMaskFieldNumber:
    case v1::ForwardRequest::kValidLensFieldNumber:
      return true;
    default:
      return false;
  }
}

// Visits the fields of a ForwardRequest.
class RequestVisitor {
 public:
  RequestVisitor(CodedInputStream& in, std::size_t& element_bytes)
      : in_(in), element_bytes_(element_bytes) {}

  bool operator()(int field, int length) const {
    if (!IsTensor(field)) return in_.Skip(length);
    return VisitMessage(in_, length, [this](int tensor_field, int data_length) {
      if (!in_.Skip(data_length)) return false;
      if (tensor_field == v1::Tensor::kDataFieldNumber) {
        element_bytes_ += static_cast<std::size_t>(data_length);
      }
      return true;
    });
  }

 private:
  CodedInputStream& in_;
  std::size_t& element_bytes_;
};

}  // namespace

std::size_t CountRequestElementBytes(ZeroCopyInputStream* message) {
  CodedInputStream in(message);
  std::size_t element_bytes = 0;
  VisitFields(in, RequestVisitor(in, element_bytes));
  return element_bytes;
}

std::size_t CountStreamRequestElementBytes(ZeroCopyInputStream* message) {
  CodedInputStream in(message);
  std::size_t element_bytes = 0;
  VisitFields(in, [&](int field, int length) {
    if (field != v1::ForwardStreamRequest::kRequestFieldNumber) {
      return in.Skip(length);
    }
    return VisitMessage(in, length, RequestVisitor(in, element_bytes));
  });
  return element_bytes;
}

std::uint64_t ReadStreamRequestId(ZeroCopyInputStream* message) {
  constexpr std::uint32_t kIdTag =
      WireFormatLite::MakeTag(v1::ForwardStreamRequest::kIdFieldNumber,
                              WireFormatLite::WIRETYPE_VARINT);
  CodedInputStream in(message);
  std::uint64_t id = 0;
  while (const std::uint32_t tag = in.ReadTag()) {
    const bool well_formed = tag == kIdTag
                                 ? in.ReadVarint64(&id)
                                 : WireFormatLite::SkipField(&in, tag);
    if (!well_formed) break;
  }
  return id;
}

}  // namespace attention
