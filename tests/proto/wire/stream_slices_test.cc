// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/stream_slices.h"

#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "attention/v1/attention_service.pb.h"

namespace attention {
namespace {

// In pieces of random lengths, as gRPC delivers a message.
grpc::ByteBuffer InPieces(const std::string& bytes, std::mt19937& random) {
  std::vector<grpc::Slice> slices;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t count = 1 + random() % 40;
    slices.emplace_back(bytes.substr(at, count));
    at += count;
  }
  return {slices.data(), slices.size()};
}

std::string ToString(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(message.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// Whether taking a message apart gives what protobuf makes of it, malformed
// ones included.
void ExpectAsProtobuf(const std::string& bytes, std::mt19937& random) {
  v1::ForwardStreamResponse want;
  const bool parsed = want.ParseFromString(bytes);
  const auto got = ParseStreamAnswer(InPieces(bytes, random));
  v1::ForwardResponse response;
  const bool well_formed =
      got.ok() &&
      (got->error || response.ParseFromString(ToString(got->response)));
  ASSERT_EQ(well_formed, parsed);
  if (!parsed) return;
  EXPECT_EQ(got->id, want.id());
  ASSERT_EQ(got->error.has_value(), want.has_error());
  if (got->error) {
    EXPECT_EQ(got->error->error_code(), want.error().code());
    EXPECT_EQ(got->error->error_message(), want.error().message());
  }
  EXPECT_EQ(response.SerializeAsString(), want.response().SerializeAsString());
}

v1::ForwardStreamResponse Answer() {
  v1::ForwardStreamResponse message;
  message.set_id(300);
  v1::ForwardResponse& response = *message.mutable_response();
  response.mutable_output()->set_data(std::string(100, 'o'));
  response.mutable_weights()->add_shape(7);
  response.set_module_version(1'000'000);
  return message;
}

v1::ForwardStreamResponse Failure() {
  v1::ForwardStreamResponse message;
  message.set_id(5);
  message.mutable_error()->set_code(grpc::NOT_FOUND);
  message.mutable_error()->set_message("no such module");
  return message;
}

// Serialised fields of every kind: known, unknown, and known of another type.
std::vector<std::string> Fields() {
  v1::ForwardStreamResponse more;
  more.mutable_response()->mutable_output()->add_shape(9);
  more.mutable_response()->set_batch_size(3);
  v1::ForwardStreamResponse code;
  code.mutable_error()->set_code(grpc::INTERNAL);
  return {Answer().SerializeAsString(),
          Failure().SerializeAsString(),
          more.SerializeAsString(),
          code.SerializeAsString(),
          std::string("\x12\x00", 2),  // an empty response
          "\x08\x07",                  // an id
          "\x0a\x02hi",                // an id that is a text
          "\x10\x05",                  // a response that is a number
          "\x7a\x03xyz",               // unknown: a text,
          "\x78\x96\x01",              // a number,
          "\x79"
          "12345678",  // eight bytes,
          "\x7d"
          "1234",               // four,
          "\x7b\x08\x01\x7c"};  // and a group
}

TEST(StreamSlicesTest, WrapsARequest) {
  std::mt19937 random(1);
  v1::ForwardRequest request;
  request.set_module("m");
  request.mutable_query()->set_data(std::string(1000, 'q'));
  const std::string bytes = request.SerializeAsString();

  v1::ForwardStreamRequest message;
  ASSERT_TRUE(message.ParseFromString(
      ToString(SerializeStreamRequest(7, InPieces(bytes, random)))));

  EXPECT_EQ(message.id(), 7U);
  EXPECT_EQ(message.request().SerializeAsString(), bytes);
}

TEST(StreamSlicesTest, TakesAnswersApartAsProtobufDoes) {
  std::mt19937 random(2);
  const std::vector<std::string> fields = Fields();
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes;
    for (std::size_t count = random() % 6; count > 0; --count) {
      bytes += fields[random() % fields.size()];
    }
    if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 1));
    ASSERT_NO_FATAL_FAILURE(ExpectAsProtobuf(bytes, random))
        << testing::PrintToString(bytes);
  }
}

TEST(StreamSlicesTest, SharesTheResponsesMemory) {
  std::string bytes = Answer().SerializeAsString();
  const grpc::Slice slice(bytes.data(), bytes.size(),
                          grpc::Slice::STATIC_SLICE);

  const auto answer = ParseStreamAnswer({&slice, 1});

  ASSERT_TRUE(answer.ok()) << answer.status();
  grpc::Slice response;
  ASSERT_TRUE(answer->response.TrySingleSlice(&response).ok());
  EXPECT_GE(response.begin(), slice.begin());
  EXPECT_LE(response.end(), slice.end());
}

TEST(StreamSlicesTest, RefusesAnErrorThatIsNone) {
  std::mt19937 random(3);
  v1::ForwardStreamResponse message;
  message.mutable_error()->set_message("fine");

  EXPECT_EQ(ParseStreamAnswer(InPieces(message.SerializeAsString(), random))
                .status()
                .code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace attention
