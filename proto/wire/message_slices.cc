// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/message_slices.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "attention/v1/tensor.pb.h"
#include "proto/wire/tensor_codec.h"

namespace attention {
namespace {

using google::protobuf::internal::WireFormatLite;
using Owner = std::shared_ptr<const void>;

// Copying so many behind their header costs less than a slice of their own.
constexpr std::size_t kCopiedBytes = 4096;

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

// What a slice keeps alive until its bytes have left.
struct Kept {
  Owner owner;
  std::string bytes;  // where they are the slice's own
};

// A slice of bytes that live as long as `kept`.
grpc::Slice SliceOf(const void* data, std::size_t num_bytes,
                    std::unique_ptr<Kept> kept) {
  grpc::Slice slice(
      const_cast<void*>(data), num_bytes,
      [](void* pointer) { delete static_cast<Kept*>(pointer); }, kept.get());
  (void)kept.release();  // deleted by the slice
  return slice;
}

}  // namespace

void MessageSlices::Append(const std::string& fields) {
  if (!fields.empty()) Append(grpc::Slice(fields));
}

void MessageSlices::Append(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return;  // only a compressed one's may fail
  for (grpc::Slice& slice : slices) Append(std::move(slice));
}

void MessageSlices::AppendTensor(int field, const TensorView& tensor,
                                 const Owner& owner) {
  v1::Tensor type;
  EncodeTensorType(tensor, &type);
  const std::size_t num_bytes = tensor.num_bytes();
  const std::string body = type.SerializeAsString() +
                           FieldHeader(v1::Tensor::kDataFieldNumber, num_bytes);
  std::string head = FieldHeader(field, body.size() + num_bytes) + body;
  auto kept = std::make_unique<Kept>(owner);
  if (num_bytes > kCopiedBytes) {
    Append(grpc::Slice(head));
    Append(SliceOf(tensor.data, num_bytes, std::move(kept)));
    return;
  }
  if (num_bytes > 0) {  // else the pointer may be null
    head.append(reinterpret_cast<const char*>(tensor.data), num_bytes);
  }
  kept->bytes = std::move(head);
  const std::string& bytes = kept->bytes;
  Append(SliceOf(bytes.data(), bytes.size(), std::move(kept)));
}

void MessageSlices::Wrap(int field, const std::string& fields) {
  const std::string head = fields + FieldHeader(field, num_bytes_);
  num_bytes_ += head.size();
  slices_.insert(slices_.begin(), grpc::Slice(head));
}

void MessageSlices::Append(grpc::Slice slice) {
  num_bytes_ += slice.size();
  slices_.push_back(std::move(slice));
}

void CopyRanges(grpc::ByteBuffer* message, std::span<RangeCopy> copies) {
  std::ranges::sort(copies, {},
                    [](const RangeCopy& copy) { return copy.range.first; });
  grpc::ProtoBufferReader reader(message);
  const void* data = nullptr;
  int size = 0;
  std::size_t position = 0;  // of the slice at hand
  for (RangeCopy copy : copies) {
    while (copy.range.count > 0) {
      const std::size_t slice_end = position + static_cast<std::size_t>(size);
      if (copy.range.first >= slice_end) {
        if (!reader.Next(&data, &size)) return;
        position = slice_end;
        continue;
      }
      const std::size_t count =
          std::min(copy.range.count, slice_end - copy.range.first);
      std::memcpy(
          copy.to,
          static_cast<const std::byte*>(data) + (copy.range.first - position),
          count);
      copy.to += count;
      copy.range.first += count;
      copy.range.count -= count;
    }
  }
}

}  // namespace attention
