// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/stream_slices.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "attention/v1/attention_service.pb.h"
#include "proto/wire/forward_outline.h"
#include "proto/wire/message_slices.h"

namespace attention {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr std::uint32_t DelimitedTag(int field) {
  return WireFormatLite::MakeTag(field,
                                 WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}

constexpr std::uint32_t kIdTag = WireFormatLite::MakeTag(
    v1::ForwardStreamResponse::kIdFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr std::uint32_t kResponseTag =
    DelimitedTag(v1::ForwardStreamResponse::kResponseFieldNumber);
constexpr std::uint32_t kErrorTag =
    DelimitedTag(v1::ForwardStreamResponse::kErrorFieldNumber);

// What a message holds. Of a message field, all occurrences are one message
// whose fields follow each other; of a oneof, the last field is set.
struct Contents {
  std::uint64_t id = 0;
  std::vector<ByteRange> response;
  std::optional<std::string> error;
};

bool ReadContents(CodedInputStream& in, Contents& contents) {
  while (const std::uint32_t tag = in.ReadTag()) {
    if (tag == kIdTag) {
      if (!in.ReadVarint64(&contents.id)) return false;
      continue;
    }
    if (tag != kResponseTag && tag != kErrorTag) {
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    int length = 0;
    if (!in.ReadVarintSizeAsInt(&length)) return false;
    if (tag == kResponseTag) {
      contents.error.reset();
      contents.response.push_back(
          {static_cast<std::size_t>(in.CurrentPosition()),
           static_cast<std::size_t>(length)});
      if (!in.Skip(length)) return false;
      continue;
    }
    contents.response.clear();
    std::string error;
    if (!in.ReadString(&error, length)) return false;
    if (!contents.error) contents.error.emplace();
    contents.error->append(error);
  }
  return in.ConsumedEntireMessage();
}

// The bytes of `ranges`, which ascend, in slices that share their memory.
grpc::ByteBuffer Share(const grpc::ByteBuffer& message,
                       std::span<const ByteRange> ranges) {
  std::vector<grpc::Slice> all;
  if (!message.Dump(&all).ok()) all.clear();
  std::vector<grpc::Slice> shared;
  std::size_t start = 0;  // of the slice at hand
  for (const grpc::Slice& slice : all) {
    const std::size_t end = start + slice.size();
    while (!ranges.empty()) {
      const std::size_t range_end = ranges[0].first + ranges[0].count;
      const std::size_t first = std::max(ranges[0].first, start);
      const std::size_t last = std::min(range_end, end);
      if (first < last) {
        shared.push_back(slice.sub(first - start, last - start));
      }
      if (range_end > end) break;
      ranges = ranges.subspan(1);
    }
    start = end;
  }
  return {shared.data(), shared.size()};
}

absl::Status Malformed() {
  return absl::InternalError(
      "malformed answer from the server: not a ForwardStreamResponse");
}

}  // namespace

grpc::ByteBuffer SerializeStreamRequest(std::uint64_t id,
                                        const grpc::ByteBuffer& request) {
  MessageSlices slices;
  slices.Append(request);
  v1::ForwardStreamRequest envelope;
  envelope.set_id(id);
  slices.Wrap(v1::ForwardStreamRequest::kRequestFieldNumber,
              envelope.SerializeAsString());
  return slices.Join();
}

absl::StatusOr<StreamAnswer> ParseStreamAnswer(
    const grpc::ByteBuffer& message) {
  grpc::ByteBuffer shared(message);  // as reading one takes no const one
  grpc::ProtoBufferReader reader(&shared);
  Contents contents;
  if (!reader.status().ok()) return Malformed();
  {
    CodedInputStream in(&reader);
    if (!ReadContents(in, contents)) return Malformed();
  }
  StreamAnswer answer;
  answer.id = contents.id;
  if (!contents.error) {
    answer.response = Share(shared, contents.response);
    return answer;
  }
  v1::Error error;
  if (!error.ParseFromString(*contents.error) || error.code() == grpc::OK) {
    return Malformed();
  }
  answer.error.emplace(static_cast<grpc::StatusCode>(error.code()),
                       error.message());
  return answer;
}

}  // namespace attention
