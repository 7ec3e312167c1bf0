// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/message_bytes.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <format>
#include <new>
#include <string>
#include <utility>

#include "core/tensor/status_macros.h"
#include "proto/wire/forward_scan.h"

namespace attention {
namespace {

// Enough for 2^16 lengths of queries and as many of keys.
constexpr std::size_t kMaxFieldBytes = std::size_t{4} << 20;
// What a byte beside tensor elements becomes at most when it is parsed: the two
// of an empty unknown field are 16 in an array that may have doubled just now,
// and a string of their own.
constexpr std::size_t kMaxInflation = 40;
// What a request's bookkeeping takes beside its messages.
constexpr std::size_t kCallBytes = 4096;

using Reservation = AdmissionController::Reservation;

absl::Status Parse(grpc::ByteBuffer* bytes,
                   google::protobuf::Message* message) {
  if (!bytes->Valid()) {
    return absl::InvalidArgumentError(std::format(
        "the call has no whole message, expected {}", message->GetTypeName()));
  }
  const std::size_t num_bytes = bytes->Length();
  bool parsed = false;
  try {
    grpc::ProtoBufferReader reader(bytes);
    parsed = reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
  } catch (const std::bad_alloc&) {
    bytes->Clear();
    return absl::ResourceExhaustedError("memory is exhausted");
  }
  bytes->Clear();
  if (parsed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      std::format("the message of {} bytes is not a well-formed {}", num_bytes,
                  message->GetTypeName()));
}

// Reserve what parsing holds at most at one time: the bytes as they came, the
// elements copied out of them, and what the other fields may grow to.
template <typename Count>
absl::StatusOr<Reservation> ReserveParsing(grpc::ByteBuffer* bytes,
                                           AdmissionController& admission,
                                           Count count_element_bytes) {
  if (!bytes->Valid()) return admission.Reserve(kCallBytes);
  grpc::ProtoBufferReader reader(bytes);
  const std::size_t element_bytes = count_element_bytes(&reader);
  const std::size_t field_bytes = bytes->Length() - element_bytes;
  if (field_bytes > kMaxFieldBytes) {
    return absl::InvalidArgumentError(std::format(
        "the message has {} bytes beside tensor elements, expected at most {}",
        field_bytes, kMaxFieldBytes));
  }
  return admission.Reserve(kCallBytes + bytes->Length() + element_bytes +
                           kMaxInflation * field_bytes);
}

// Parse what `reservation` is for; it then holds what the message takes.
absl::StatusOr<Reservation> ParseReserved(grpc::ByteBuffer* bytes,
                                          Reservation reservation,
                                          google::protobuf::Message* message) {
  const absl::Status parsed = Parse(bytes, message);
  if (!parsed.ok()) {
    message->Clear();
    return parsed;
  }
  // More than was reserved when protobuf's long strings have room to grow.
  ATTENTION_RETURN_IF_ERROR(
      reservation.Resize(kCallBytes + message->SpaceUsedLong()));
  return reservation;
}

}  // namespace

absl::Status ParseMessage(grpc::ByteBuffer* bytes, std::size_t max_bytes,
                          google::protobuf::Message* message) {
  if (bytes->Valid() && bytes->Length() > max_bytes) {
    const std::size_t num_bytes = bytes->Length();
    bytes->Clear();
    return absl::InvalidArgumentError(
        std::format("the {} has {} bytes, expected at most {}",
                    message->GetTypeName(), num_bytes, max_bytes));
  }
  ATTENTION_RETURN_IF_ERROR(Parse(bytes, message));
  message->DiscardUnknownFields();
  return absl::OkStatus();
}

absl::StatusOr<Reservation> ParseForwardMessage(grpc::ByteBuffer* bytes,
                                                AdmissionController& admission,
                                                v1::ForwardRequest* message) {
  absl::StatusOr<Reservation> reservation =
      ReserveParsing(bytes, admission, CountRequestElementBytes);
  if (reservation.ok()) {
    return ParseReserved(bytes, *std::move(reservation), message);
  }
  bytes->Clear();
  return reservation.status();
}

absl::StatusOr<Reservation> ParseForwardMessage(
    grpc::ByteBuffer* bytes, AdmissionController& admission,
    v1::ForwardStreamRequest* message) {
  absl::StatusOr<Reservation> reservation =
      ReserveParsing(bytes, admission, CountStreamRequestElementBytes);
  if (reservation.ok()) {
    return ParseReserved(bytes, *std::move(reservation), message);
  }
  if (absl::IsResourceExhausted(reservation.status())) {
    grpc::ProtoBufferReader reader(bytes);
    message->set_id(ReadStreamRequestId(&reader));
  }
  bytes->Clear();
  return reservation.status();
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

}  // namespace attention
