// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/attention_codec.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

#include "server/rpc/front_door.h"
#include "server/rpc/log_observer.h"
#include "server/rpc/message_bytes.h"

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

// What the door does with a message.
absl::StatusOr<Reservation> Admit(AdmissionController& admission,
                                  RequestCodec& codec,
                                  grpc::ByteBuffer* bytes) {
  const SharedServerState state{ServerState::kServing};
  LogObserver observer;
  AnswerWatch answers{AnswerLimits()};
  const FrontDoor door({.state = state,
                        .admission = admission,
                        .observer = observer,
                        .answers = answers});
  return door.Admit(codec, bytes);
}

TEST(AttentionCodecTest, HoldsWhatTheParsedMessageTakes) {
  AdmissionController admission(4 * kElementBytes);
  grpc::ByteBuffer bytes = SerializeMessage(Request());
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionCodec codec(buffers);

  const absl::StatusOr<Reservation> reservation =
      Admit(admission, codec, &bytes);

  ASSERT_TRUE(reservation.ok()) << reservation.status();
  EXPECT_TRUE(codec.request().query().data().empty());
  EXPECT_FALSE(bytes.Valid());
  EXPECT_GE(admission.reserved_bytes(),
            kElementBytes + codec.request().SpaceUsedLong());
  EXPECT_LT(admission.reserved_bytes(), kElementBytes * 3 / 2);
}

TEST(AttentionCodecTest, NeedsRoomForTheBytesAndTheMessage) {
  AdmissionController admission(kElementBytes * 3 / 2);
  grpc::ByteBuffer bytes = SerializeMessage(Request());
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionCodec codec(buffers);

  EXPECT_EQ(Admit(admission, codec, &bytes).status().code(),
            absl::StatusCode::kResourceExhausted);

  EXPECT_FALSE(bytes.Valid());
  EXPECT_EQ(admission.reserved_bytes(), 0U);
}

TEST(AttentionCodecTest, RefusesBeforeItParses) {
  AdmissionController admission(kElementBytes);
  grpc::ByteBuffer bytes =
      ToBytes(Request().SerializeAsString() + "\xFF not well-formed");
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionCodec codec(buffers);

  EXPECT_EQ(Admit(admission, codec, &bytes).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(AttentionCodecTest, HoldsNothingForAMessageThatIsNotWellFormed) {
  AdmissionController admission(4 * kElementBytes);
  grpc::ByteBuffer bytes =
      ToBytes(Request().SerializeAsString() + "\xFF not well-formed");
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionCodec codec(buffers);

  EXPECT_EQ(Admit(admission, codec, &bytes).status().code(),
            absl::StatusCode::kInvalidArgument);

  EXPECT_EQ(admission.reserved_bytes(), 0U);
}

TEST(AttentionCodecTest, SaysThatACallHasNoMessage) {
  AdmissionController admission(4 * kElementBytes);
  grpc::ByteBuffer bytes;
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionCodec codec(buffers);

  EXPECT_EQ(Admit(admission, codec, &bytes).status().message(),
            "the call has no whole message, expected "
            "attention.v1.ForwardRequest");
}

TEST(AttentionCodecTest, CountsFieldsThatGrow) {
  // An empty field no tensor has: two bytes become an entry and a string.
  const std::string unknown = "\x7A";
  std::string tensor;
  for (int i = 0; i < 1000; ++i) tensor += unknown + std::string(1, '\0');
  v1::ForwardRequest request;
  ASSERT_TRUE(request.mutable_query()->ParseFromString(tensor));
  grpc::ByteBuffer bytes = SerializeMessage(request);
  const std::size_t num_bytes = bytes.Length();
  // Beside what every call takes.
  AdmissionController admission(4096 + kNumForwardTensors * kTensorAlignment +
                                43 * num_bytes);
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionCodec codec(buffers);

  const absl::StatusOr<Reservation> reservation =
      Admit(admission, codec, &bytes);

  EXPECT_TRUE(reservation.ok()) << reservation.status();
  EXPECT_GT(admission.reserved_bytes(), 4096 + 20 * num_bytes);
}

TEST(AttentionCodecTest, LeavesARefusedStreamsMessageItsId) {
  AdmissionController admission(kElementBytes);
  v1::ForwardStreamRequest request;
  request.set_id(7);
  *request.mutable_request() = Request();
  grpc::ByteBuffer bytes = SerializeMessage(request);
  BufferPool buffers(/*max_idle_bytes=*/0);
  AttentionStreamCodec codec(buffers);

  EXPECT_EQ(Admit(admission, codec, &bytes).status().code(),
            absl::StatusCode::kResourceExhausted);

  EXPECT_EQ(codec.id(), 7U);
  EXPECT_EQ(codec.request().ByteSizeLong(), 0U);
}

}  // namespace
}  // namespace attention
