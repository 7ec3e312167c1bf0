// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_bytes.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace attention {
namespace {

using Reservation = AdmissionController::Reservation;

constexpr std::size_t kElementBytes = std::size_t{1} << 20;

v1::ForwardRequest Request() {
  v1::ForwardRequest request;
  request.mutable_query()->set_data(std::string(kElementBytes, 'q'));
  return request;
}

grpc::ByteBuffer ToBytes(const std::string& message) {
  const grpc::Slice slice(message);
  return {&slice, 1};
}

TEST(ParseForwardMessageTest, HoldsWhatTheParsedMessageTakes) {
  AdmissionController admission(4 * kElementBytes);
  grpc::ByteBuffer bytes = SerializeMessage(Request());
  v1::ForwardRequest message;

  const absl::StatusOr<Reservation> reservation =
      ParseForwardMessage(&bytes, admission, &message);

  ASSERT_TRUE(reservation.ok()) << reservation.status();
  EXPECT_EQ(message.query().data().size(), kElementBytes);
  EXPECT_FALSE(bytes.Valid());
  EXPECT_GE(admission.reserved_bytes(), message.SpaceUsedLong());
  EXPECT_LT(admission.reserved_bytes(), kElementBytes * 3 / 2);
}

TEST(ParseForwardMessageTest, NeedsRoomForTheBytesAndTheMessage) {
  AdmissionController admission(kElementBytes * 3 / 2);
  grpc::ByteBuffer bytes = SerializeMessage(Request());
  v1::ForwardRequest message;

  EXPECT_EQ(ParseForwardMessage(&bytes, admission, &message).status().code(),
            absl::StatusCode::kResourceExhausted);

  EXPECT_FALSE(bytes.Valid());
  EXPECT_EQ(admission.reserved_bytes(), 0U);
}

TEST(ParseForwardMessageTest, RefusesBeforeItParses) {
  AdmissionController admission(kElementBytes);
  grpc::ByteBuffer bytes =
      ToBytes(Request().SerializeAsString() + "\xFF not well-formed");
  v1::ForwardRequest message;

  EXPECT_EQ(ParseForwardMessage(&bytes, admission, &message).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ParseForwardMessageTest, HoldsNothingForAMessageThatIsNotWellFormed) {
  AdmissionController admission(4 * kElementBytes);
  grpc::ByteBuffer bytes =
      ToBytes(Request().SerializeAsString() + "\xFF not well-formed");
  v1::ForwardRequest message;

  EXPECT_EQ(ParseForwardMessage(&bytes, admission, &message).status().code(),
            absl::StatusCode::kInvalidArgument);

  EXPECT_EQ(admission.reserved_bytes(), 0U);
}

TEST(ParseForwardMessageTest, SaysThatACallHasNoMessage) {
  AdmissionController admission(4 * kElementBytes);
  grpc::ByteBuffer bytes;
  v1::ForwardRequest message;

  EXPECT_EQ(ParseForwardMessage(&bytes, admission, &message).status().message(),
            "the call has no whole message, expected "
            "attention.v1.ForwardRequest");
}

TEST(ParseForwardMessageTest, CountsFieldsThatGrow) {
  // An empty field no tensor has: two bytes become an entry and a string.
  const std::string unknown = "\x7A";
  std::string tensor;
  for (int i = 0; i < 1000; ++i) tensor += unknown + std::string(1, '\0');
  v1::ForwardRequest request;
  ASSERT_TRUE(request.mutable_query()->ParseFromString(tensor));
  grpc::ByteBuffer bytes = SerializeMessage(request);
  const std::size_t num_bytes = bytes.Length();
  // Beside what every call takes.
  AdmissionController admission(4096 + 41 * num_bytes);
  v1::ForwardRequest message;

  const absl::StatusOr<Reservation> reservation =
      ParseForwardMessage(&bytes, admission, &message);

  EXPECT_TRUE(reservation.ok()) << reservation.status();
  EXPECT_GT(admission.reserved_bytes(), 4096 + 20 * num_bytes);
}

TEST(ParseForwardMessageTest, LeavesARefusedStreamsMessageItsId) {
  AdmissionController admission(kElementBytes);
  v1::ForwardStreamRequest request;
  request.set_id(7);
  *request.mutable_request() = Request();
  grpc::ByteBuffer bytes = SerializeMessage(request);
  v1::ForwardStreamRequest message;

  EXPECT_EQ(ParseForwardMessage(&bytes, admission, &message).status().code(),
            absl::StatusCode::kResourceExhausted);

  EXPECT_EQ(message.id(), 7U);
  EXPECT_FALSE(message.has_request());
}

}  // namespace
}  // namespace attention
