// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/forward_outline.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "attention/v1/attention_service.pb.h"

namespace attention {
namespace {

using google::protobuf::io::ArrayInputStream;

v1::ForwardRequest Request() {
  v1::ForwardRequest request;
  request.set_module(std::string(50, 'm'));
  request.mutable_query()->set_dtype(v1::DATA_TYPE_FLOAT32);
  request.mutable_query()->add_shape(3);
  request.mutable_query()->set_data(std::string(1000, 'q'));
  request.mutable_key()->set_data("k");
  request.mutable_attn_mask()->add_shape(1);
  request.mutable_valid_lens()->set_data(std::string(10, 'v'));
  request.set_dropout_seed(7);
  request.add_query_lengths(3);
  request.add_query_lengths(300);
  return request;
}

// Calls `function` with a message in pieces, as gRPC delivers it.
template <typename Function>
auto InPieces(const std::string& bytes, Function function) {
  ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()),
                          /*block_size=*/7);
  return function(MessageBytes{&stream, bytes.size()});
}

std::uint64_t IdOf(const std::string& bytes) {
  ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()),
                          /*block_size=*/7);
  return ReadStreamRequestId(&stream);
}

v1::Tensor* TensorOf(std::size_t index, v1::ForwardRequest& request) {
  switch (index) {
    case 0:
      return request.has_query() ? request.mutable_query() : nullptr;
    case 1:
      return request.has_key() ? request.mutable_key() : nullptr;
    case 2:
      return request.has_value() ? request.mutable_value() : nullptr;
    case 3:
      return request.has_attn_mask() ? request.mutable_attn_mask() : nullptr;
    case 4:
      return request.has_key_padding_mask() ? request.mutable_key_padding_mask()
                                            : nullptr;
    default:
      return request.has_valid_lens() ? request.mutable_valid_lens() : nullptr;
  }
}

// Give the tensors of `request` the elements an outline found in `bytes`.
void PutElements(const std::string& bytes, const ForwardOutline& outline,
                 v1::ForwardRequest& request) {
  for (std::size_t i = 0; i < kNumForwardTensors; ++i) {
    const ByteRange& range = outline.elements[i];
    v1::Tensor* const tensor = TensorOf(i, request);
    if (range.count > 0) {
      ASSERT_NE(tensor, nullptr);
      ASSERT_LE(range.first + range.count, bytes.size());
    }
    if (tensor == nullptr) continue;
    ASSERT_TRUE(tensor->data().empty()) << "elements are among the fields";
    tensor->set_data(bytes.substr(range.first, range.count));
  }
}

// Whether taking a message apart and together gives what protobuf makes of it,
// malformed ones included; set `well_formed` to what protobuf thinks.
void ExpectAsProtobuf(const std::string& bytes, bool* well_formed = nullptr) {
  v1::ForwardRequest want;
  const bool parsed = want.ParseFromString(bytes);
  if (well_formed != nullptr) *well_formed = parsed;
  const auto outline = InPieces(bytes, OutlineRequest);
  v1::ForwardRequest got;
  ASSERT_EQ(outline && got.ParseFromString(outline->fields), parsed);
  if (!parsed) return;
  ASSERT_NO_FATAL_FAILURE(PutElements(bytes, *outline, got));
  EXPECT_EQ(got.SerializeAsString(), want.SerializeAsString());
}

void ExpectAsProtobufOnAStream(const std::string& bytes) {
  v1::ForwardStreamRequest want;
  const bool parsed = want.ParseFromString(bytes);
  const auto outline = InPieces(bytes, OutlineStreamRequest);
  v1::ForwardStreamRequest got;
  ASSERT_EQ(outline && got.ParseFromString(outline->fields), parsed);
  if (!parsed) return;
  const bool has_request = got.has_request();
  ASSERT_NO_FATAL_FAILURE(PutElements(bytes, *outline, *got.mutable_request()));
  if (!has_request) got.clear_request();
  EXPECT_EQ(got.SerializeAsString(), want.SerializeAsString());
}

// A field of its number and kind, serialised.
std::string Varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7U) {
    bytes += static_cast<char>((value & 0x7FU) | 0x80U);
  }
  return bytes + static_cast<char>(value);
}
std::string Delimited(std::uint64_t field, const std::string& content) {
  return Varint(field << 3U | 2U) + Varint(content.size()) + content;
}

TEST(ForwardOutlineTest, LeavesTheElementsWhereTheyAre) {
  const std::string bytes = Request().SerializeAsString();

  const auto outline = InPieces(bytes, OutlineRequest);

  ASSERT_TRUE(outline);
  EXPECT_EQ(bytes.substr(outline->elements[0].first, 1000),
            std::string(1000, 'q'));
  EXPECT_LT(outline->fields.size(), bytes.size() - 1000);
  ExpectAsProtobuf(bytes);
}

TEST(ForwardOutlineTest, TakesFieldsInAnyOrder) {
  std::vector<std::string> fields = {
      Delimited(1, "module"),
      Delimited(v1::ForwardRequest::kQueryFieldNumber,
                Delimited(3, std::string(300, 'x')) + "\x08\x01" +
                    Delimited(2, "\x03\x04")),
      Delimited(v1::ForwardRequest::kKeyFieldNumber, "\x10\x05"),
      Delimited(v1::ForwardRequest::kValidLensFieldNumber, ""), "\x50\x01"};
  std::ranges::sort(fields);
  do {
    std::string bytes;
    for (const std::string& field : fields) bytes += field;
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(bytes));
  } while (std::ranges::next_permutation(fields).found);
}

TEST(ForwardOutlineTest, TakesAFieldThatIsThereTwiceAsProtobufDoes) {
  const auto query = [](const std::string& content) {
    return Delimited(v1::ForwardRequest::kQueryFieldNumber, content);
  };
  const std::string one = Delimited(3, "first");
  const std::string other = Delimited(3, "second one");
  const std::string none = Delimited(3, "");
  const std::string shape = Delimited(2, "\x02");
  for (const std::string& bytes :
       {query(one) + query(other), query(one + other), query(one) + query(none),
        query(one) + query(shape), query(shape + one) + query(shape),
        query(none) + query(one), query("") + query("")}) {
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(bytes));
  }
}

TEST(ForwardOutlineTest, KeepsWhatNobodyKnows) {
  const std::string group = "\xA3\x01\x08\x01\xA4\x01";  // 20, with field 1
  const std::string fixed =
      "\xA9\x01"
      "12345678";
  for (const std::string& unknown :
       {Delimited(99, "unknown"), group, fixed, std::string("\x18\x01")}) {
    ASSERT_NO_FATAL_FAILURE(
        ExpectAsProtobuf(unknown + Request().SerializeAsString() + unknown));
    // In a tensor; the last is a varint in the place of its elements.
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(
        Delimited(v1::ForwardRequest::kQueryFieldNumber,
                  unknown + Delimited(3, "elements") + unknown)));
  }
}

TEST(ForwardOutlineTest, TakesCutMessagesAsProtobufDoes) {
  const std::string bytes = Request().SerializeAsString();
  for (std::size_t length = 0; length <= bytes.size(); ++length) {
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(bytes.substr(0, length)));
  }
  v1::ForwardStreamRequest message;
  message.set_id(77);
  *message.mutable_request() = Request();
  const std::string envelope = message.SerializeAsString();
  for (std::size_t length = 0; length <= envelope.size(); ++length) {
    ASSERT_NO_FATAL_FAILURE(
        ExpectAsProtobufOnAStream(envelope.substr(0, length)));
  }
}

TEST(ForwardOutlineTest, TakesDamagedMessagesAsProtobufDoes) {
  const google::protobuf::LogSilencer quiet;  // strings that are not UTF-8
  std::mt19937_64 random(20261128);
  v1::ForwardRequest small = Request();
  small.mutable_query()->set_data("0123456789");
  int num_well_formed = 0;
  for (int trial = 0; trial < 50'000; ++trial) {
    std::string bytes = small.SerializeAsString();
    for (std::uint64_t left = 1 + random() % 4; left > 0; --left) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 2:
          bytes.insert(at, 1, static_cast<char>(random()));
          break;
        default:
          bytes.erase(at, 1 + random() % 3);
      }
    }
    bool well_formed = false;
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(bytes, &well_formed))
        << "trial " << trial;
    num_well_formed += well_formed ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(
        ExpectAsProtobufOnAStream("\x08\x05" + Delimited(2, bytes)))
        << "trial " << trial;
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobufOnAStream(bytes))
        << "trial " << trial;
  }
  EXPECT_GT(num_well_formed, 5'000);
}

TEST(ForwardOutlineTest, CountsTheElementsOfEveryTensor) {
  EXPECT_EQ(InPieces(Request().SerializeAsString(), CountRequestElementBytes),
            1011U);
}

TEST(ForwardOutlineTest, LooksIntoTheStreamsEnvelope) {
  v1::ForwardStreamRequest message;
  message.set_id(5);
  *message.mutable_request() = Request();

  EXPECT_EQ(
      InPieces(message.SerializeAsString(), CountStreamRequestElementBytes),
      1011U);
}

TEST(ForwardOutlineTest, CountsNeverMoreThanThereIs) {
  const std::string bytes = Request().SerializeAsString();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_LE(InPieces(bytes.substr(0, length), CountRequestElementBytes),
              length);
  }
}

TEST(ForwardOutlineTest, ReadsTheIdOfAStreamsRequestWhereverItStands) {
  v1::ForwardStreamRequest request;
  *request.mutable_request() = Request();
  v1::ForwardStreamRequest id;
  id.set_id(300);

  EXPECT_EQ(IdOf(request.SerializeAsString() + id.SerializeAsString()), 300U);
  EXPECT_EQ(IdOf(request.SerializeAsString()), 0U);
}

// As long a message of nothing but tiny fields as is let in, wherever they
// stand: with work beyond a pass or two over it, this would take minutes.
TEST(ForwardOutlineTest, TakesMillionsOfTinyFields) {
  for (const std::string& field :
       {std::string("\x7A\0", 2), std::string("\x12\0", 2),
        std::string("\x50\x01")}) {
    std::string bytes;
    while (bytes.size() < std::size_t{4} << 20U) bytes += field;
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(bytes));
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(Delimited(2, bytes)));
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobufOnAStream(Delimited(2, bytes)));
  }
}

TEST(ForwardOutlineTest, TakesOverlongNumbersAsProtobufDoes) {
  const std::string end("\x80\x80\x80\x80\x80\x80\x80\x80\x80\0", 10);
  for (std::size_t length = 1; length <= end.size(); ++length) {
    const std::string zeros = end.substr(end.size() - length);
    for (const char first : {'\x92', '\x88', '\x9A', '\xFA'}) {
      ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(first + zeros + '\x01'));
      ASSERT_NO_FATAL_FAILURE(
          ExpectAsProtobuf(first + zeros + '\x02' + "\x08\x01"));
    }
    for (const char tag : {'\x12', '\x1A', '\x7A', '\x50'}) {
      ASSERT_NO_FATAL_FAILURE(
          ExpectAsProtobuf(tag + (std::string("\x81") + zeros) + "x"));
      ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(
          Delimited(2, tag + (std::string("\x81") + zeros) + "x")));
    }
  }
}

TEST(ForwardOutlineTest, AllocatesNoMoreThanThereIs) {
  // Fields that claim to be nearly 2 GiB long.
  const std::string claim = Varint((std::uint64_t{1} << 31U) - 100);
  for (const std::string& bytes :
       {"\x12" + claim + "\x7A" + claim, "\x7A" + claim, "\x0B\x12" + claim,
        "\x12" + claim + "\x1A" + claim}) {
    EXPECT_FALSE(InPieces(bytes, OutlineRequest));
  }
}

}  // namespace
}  // namespace attention
