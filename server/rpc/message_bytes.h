// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attention/v1/attention_service.pb.h"
#include "core/serving/admission_controller.h"

namespace attention {

/// Longest message that manages modules, and longest header of an upload:
/// names, a config and a prefix need far less.
inline constexpr std::size_t kMaxManagementBytes = std::size_t{64} << 10U;
/// Longest message of an upload.
inline constexpr std::size_t kMaxUploadMessageBytes = std::size_t{16} << 20U;

/// Parse a message of at most `max_bytes` and free its bytes. Unknown fields
/// are dropped.
/// \return INVALID_ARGUMENT naming the message's type when they are not one or
///   too many, RESOURCE_EXHAUSTED when memory is.
[[nodiscard]] absl::Status ParseMessage(grpc::ByteBuffer* bytes,
                                        std::size_t max_bytes,
                                        google::protobuf::Message* message);

/// Parse a ForwardRequest or ForwardStreamRequest and free its bytes.
///
/// Fields beside tensor elements are bounded: protobuf keeps a byte of them in
/// up to forty, so that a message within the message limit could exhaust
/// memory. What parsing may take, the bytes included, is reserved before it.
///
/// \return a reservation of what the parsed message takes, bookkeeping
///   included; INVALID_ARGUMENT as ParseMessage, RESOURCE_EXHAUSTED as
///   AdmissionController. A refused stream's message has its id and nothing
///   else, one that cannot be parsed has nothing.
[[nodiscard]] absl::StatusOr<AdmissionController::Reservation>
ParseForwardMessage(grpc::ByteBuffer* bytes, AdmissionController& admission,
                    v1::ForwardRequest* message);
[[nodiscard]] absl::StatusOr<AdmissionController::Reservation>
ParseForwardMessage(grpc::ByteBuffer* bytes, AdmissionController& admission,
                    v1::ForwardStreamRequest* message);

[[nodiscard]] grpc::ByteBuffer SerializeMessage(
    const google::protobuf::Message& message);

}  // namespace attention
