// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/forward_outline.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "attention/v1/attention_service.pb.h"

namespace attention {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::ZeroCopyInputStream;

// The tensors of a ForwardResponse.
constexpr std::array<int, 2> kAnswerTensorFields = {
    v1::ForwardResponse::kOutputFieldNumber,
    v1::ForwardResponse::kWeightsFieldNumber};

// As protobuf takes them: longer ones are malformed.
constexpr int kMaxTagBytes = 5;
constexpr int kMaxVarintBytes = 10;
// Protobuf refuses less.
constexpr int kMaxGroupDepth = 100;

// Reads a message byte by byte or in runs, within an end that is known.
class ByteReader {
 public:
  ByteReader(ZeroCopyInputStream* in, std::size_t num_bytes)
      : in_(in), end_(num_bytes) {}

  [[nodiscard]] std::size_t position() const { return position_; }
  [[nodiscard]] std::size_t end() const { return end_; }
  [[nodiscard]] std::size_t left() const { return end_ - position_; }
  // Read no further than `end`, which is within the one before.
  void SetEnd(std::size_t end) { end_ = end; }

  // Read a varint and append its bytes to `raw`, unless that is null.
  bool ReadVarint(int max_bytes, std::uint64_t& value, std::string* raw) {
    value = 0;
    for (int i = 0; i < max_bytes; ++i) {
      if (left() == 0 || !Refill()) return false;
      const auto byte = static_cast<unsigned char>(*next_);
      Advance(1);
      if (raw != nullptr) raw->push_back(static_cast<char>(byte));
      value |= std::uint64_t{byte & 0x7FU} << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }

  // Append the next `count` bytes to `to` or, if that is null, skip them.
  bool Take(std::uint64_t count, std::string* to) {
    if (count > left()) return false;
    while (count > 0) {
      if (!Refill()) return false;
      const std::size_t run = std::min<std::size_t>(count, available_);
      if (to != nullptr) to->append(next_, run);
      Advance(run);
      count -= run;
    }
    return true;
  }

 private:
  bool Refill() {
    const void* data = nullptr;
    for (int size = 0; available_ == 0;
         available_ = static_cast<std::size_t>(size)) {
      if (!in_->Next(&data, &size)) return false;
      next_ = static_cast<const char*>(data);
    }
    return true;
  }

  void Advance(std::size_t count) {
    next_ += count;
    available_ -= count;
    position_ += count;
  }

  ZeroCopyInputStream* in_;
  const char* next_ = nullptr;
  std::size_t available_ = 0;
  std::size_t position_ = 0;
  std::size_t end_;
};

// One walk over a message, which counts the elements of its tensors and, where
// an outline is wanted, writes it: what is kept is kept as it came.
class Walk {
 public:
  // \param tensor_fields of the message, or of that in its envelope.
  Walk(ZeroCopyInputStream* message, std::size_t num_bytes,
       std::span<const int> tensor_fields, ForwardOutline* outline)
      : in_(message, num_bytes),
        tensor_fields_(tensor_fields),
        outline_(outline) {}

  // \return whether the message is well-formed, as far as this can tell.
  bool Message() { return VisitTensors(fields()); }

  // The same for a message with the one in question in field `inner_field`.
  bool Envelope(int inner_field) {
    return VisitFields(fields(), [&](int field) {
      return field != inner_field ? CopyContent(fields())
                                  : VisitMessage(fields(), [this](auto* inner) {
                                      return VisitTensors(inner);
                                    });
    });
  }

  [[nodiscard]] std::size_t element_bytes() const { return element_bytes_; }

 private:
  [[nodiscard]] std::string* fields() const {
    return outline_ == nullptr ? nullptr : &outline_->fields;
  }

  bool VisitTensors(std::string* fields) {
    return VisitFields(fields, [&](int field) {
      const auto tensor = std::ranges::find(tensor_fields_, field);
      if (tensor == tensor_fields_.end()) return CopyContent(fields);
      const auto index =
          static_cast<std::size_t>(tensor - tensor_fields_.begin());
      return VisitMessage(fields, [&](std::string* inner) {
        return VisitTensor(index, inner);
      });
    });
  }

  bool VisitTensor(std::size_t index, std::string* fields) {
    return VisitFields(fields, [&](int field) {
      if (field != v1::Tensor::kDataFieldNumber) return CopyContent(fields);
      if (fields != nullptr) fields->resize(fields->size() - tag_bytes_);
      std::uint64_t length = 0;
      if (!in_.ReadVarint(kMaxTagBytes, length, nullptr)) return false;
      // The last elements count, as of any field that is there twice.
      const ByteRange range = {in_.position(),
                               static_cast<std::size_t>(length)};
      if (!in_.Take(length, nullptr)) return false;
      if (outline_ != nullptr) outline_->elements[index] = range;
      element_bytes_ += range.count;
      return true;
    });
  }

  // Call visit(field), which consumes the content, for each length-delimited
  // field up to the end, behind whose tag `fields` ends then, and copy the
  // others to `fields`, unless that is null.
  template <typename Visit>
  bool VisitFields(std::string* fields, const Visit& visit) {
    while (in_.left() > 0) {
      std::uint32_t tag = 0;
      if (!ReadTag(tag, fields) || tag == 0) return false;
      const bool read = WireFormatLite::GetTagWireType(tag) ==
                                WireFormatLite::WIRETYPE_LENGTH_DELIMITED
                            ? visit(WireFormatLite::GetTagFieldNumber(tag))
                            : CopyOther(tag, fields);
      if (!read) return false;
    }
    return true;
  }

  bool ReadTag(std::uint32_t& tag, std::string* fields) {
    const std::size_t start = in_.position();
    std::uint64_t value = 0;
    if (!in_.ReadVarint(kMaxTagBytes, value, fields)) return false;
    tag = static_cast<std::uint32_t>(value);
    tag_bytes_ = in_.position() - start;
    return true;
  }

  // Do `visit` with the content of a message, and write what it has written as
  // that content.
  template <typename Visit>
  bool VisitMessage(std::string* fields, const Visit& visit) {
    std::uint64_t length = 0;
    if (!in_.ReadVarint(kMaxTagBytes, length, nullptr)) return false;
    if (length > in_.left()) return false;
    const std::size_t outer_end = in_.end();
    in_.SetEnd(in_.position() + static_cast<std::size_t>(length));
    std::string inner;
    const bool well_formed = visit(fields == nullptr ? nullptr : &inner);
    in_.SetEnd(outer_end);
    if (!well_formed) return false;
    if (fields != nullptr) {
      AppendVarint(inner.size(), *fields);
      fields->append(inner);
    }
    return true;
  }

  // Copy a length and as many bytes.
  bool CopyContent(std::string* fields) {
    std::uint64_t length = 0;
    return in_.ReadVarint(kMaxTagBytes, length, fields) &&
           in_.Take(length, fields);
  }

  bool CopyOther(std::uint32_t tag, std::string* fields) {
    std::uint64_t value = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return in_.ReadVarint(kMaxVarintBytes, value, fields);
      case WireFormatLite::WIRETYPE_FIXED64:
        return in_.Take(8, fields);
      case WireFormatLite::WIRETYPE_FIXED32:
        return in_.Take(4, fields);
      case WireFormatLite::WIRETYPE_START_GROUP:
        return CopyGroup(fields);
      default:  // the end of a group that has not begun, or no type
        return false;
    }
  }

  // Copy what follows the beginning of a group, its end included. Whether the
  // ends are those of the beginnings is protobuf's to say.
  bool CopyGroup(std::string* fields) {
    for (int depth = 1; depth > 0;) {
      std::uint32_t tag = 0;
      if (!ReadTag(tag, fields) || depth > kMaxGroupDepth) return false;
      switch (WireFormatLite::GetTagWireType(tag)) {
        case WireFormatLite::WIRETYPE_START_GROUP:
          ++depth;
          break;
        case WireFormatLite::WIRETYPE_END_GROUP:
          --depth;
          break;
        case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
          if (!CopyContent(fields)) return false;
          break;
        default:
          if (!CopyOther(tag, fields)) return false;
      }
    }
    return true;
  }

  static void AppendVarint(std::uint64_t value, std::string& to) {
    for (; value >= 0x80; value >>= 7U) {
      to.push_back(static_cast<char>((value & 0x7FU) | 0x80U));
    }
    to.push_back(static_cast<char>(value));
  }

  ByteReader in_;
  const std::span<const int> tensor_fields_;
  ForwardOutline* const outline_;
  std::size_t tag_bytes_ = 0;  // of the tag read last
  std::size_t element_bytes_ = 0;
};

}  // namespace

std::size_t CountRequestElementBytes(const MessageBytes& message) {
  Walk walk(message.stream, message.num_bytes, kForwardTensorFields, nullptr);
  walk.Message();
  return walk.element_bytes();
}

std::size_t CountStreamRequestElementBytes(const MessageBytes& message) {
  Walk walk(message.stream, message.num_bytes, kForwardTensorFields, nullptr);
  walk.Envelope(v1::ForwardStreamRequest::kRequestFieldNumber);
  return walk.element_bytes();
}

std::optional<ForwardOutline> OutlineRequest(const MessageBytes& message) {
  ForwardOutline outline;
  Walk walk(message.stream, message.num_bytes, kForwardTensorFields, &outline);
  if (!walk.Message()) return std::nullopt;
  return outline;
}

std::optional<ForwardOutline> OutlineStreamRequest(
    const MessageBytes& message) {
  ForwardOutline outline;
  Walk walk(message.stream, message.num_bytes, kForwardTensorFields, &outline);
  if (!walk.Envelope(v1::ForwardStreamRequest::kRequestFieldNumber)) {
    return std::nullopt;
  }
  return outline;
}

std::optional<ForwardOutline> OutlineResponse(const MessageBytes& message) {
  ForwardOutline outline;
  Walk walk(message.stream, message.num_bytes, kAnswerTensorFields, &outline);
  if (!walk.Message()) return std::nullopt;
  return outline;
}

std::uint64_t ReadStreamRequestId(ZeroCopyInputStream* message) {
  constexpr std::uint32_t kIdTag =
      WireFormatLite::MakeTag(v1::ForwardStreamRequest::kIdFieldNumber,
                              WireFormatLite::WIRETYPE_VARINT);
  google::protobuf::io::CodedInputStream in(message);
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
