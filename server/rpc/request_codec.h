// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/attention/request.h"
#include "server/rpc/call_observer.h"

namespace attention {

/// One forward request and its answer, in the bytes of one protocol: all that
/// the way from the door to the executor knows of protocols.
///
/// Used once, in the order of its methods: ParsingBytes and Parse by the door,
/// which reserves memory before the one and keeps what the other says reserved
/// as long as the answer's bytes share the codec; module to AllocateOutputs on
/// the way in; FreeRequest, then Serialize or SerializeError, on the way out. A
/// request may be refused after any of them. Not thread-safe: one thread at a
/// time.
class RequestCodec {
 public:
  virtual ~RequestCodec() = default;

  /// Return the most memory that parsing a message holds at one time, itself
  /// included, without parsing it. There may be no message (not Valid).
  /// \return INVALID_ARGUMENT when parsing might inflate it beyond reason.
  [[nodiscard]] virtual absl::StatusOr<std::size_t> ParsingBytes(
      grpc::ByteBuffer* message) = 0;
  /// Parse a message and free its bytes.
  /// \return the memory that is held from now on, INVALID_ARGUMENT when it is
  ///   not well-formed, RESOURCE_EXHAUSTED when memory is.
  [[nodiscard]] virtual absl::StatusOr<std::size_t> Parse(
      grpc::ByteBuffer* message) = 0;

  /// Name of the module asked for, as it came. Lifetime: until FreeRequest.
  [[nodiscard]] virtual std::string_view module() const = 0;
  /// View the request as inputs. Lifetime: until FreeRequest.
  /// \return INVALID_ARGUMENT naming the field.
  [[nodiscard]] virtual absl::StatusOr<AttentionInputs> Decode() const = 0;
  /// Return the most bytes an answer with outputs of these shapes takes.
  [[nodiscard]] virtual std::size_t AnswerBytes(const OutputShapes& shapes,
                                                DataType dtype) const = 0;
  /// Make room for the outputs inside the answer. Lifetime: the codec's.
  /// Throws std::bad_alloc or std::length_error.
  [[nodiscard]] virtual AttentionOutputs AllocateOutputs(
      const OutputShapes& shapes, DataType dtype) = 0;

  /// Free the request, so that it and the answer's copy on the wire are not
  /// there at one time.
  virtual void FreeRequest() = 0;
  /// Serialise the answer.
  /// \param call says what was measured.
  /// \param self owns the codec and the memory reserved for it. The bytes of
  ///   the outputs must share it, be they copied or not: that alone keeps them
  ///   reserved until they have left.
  [[nodiscard]] virtual grpc::ByteBuffer Serialize(
      const CallRecord& call, const std::shared_ptr<const void>& self) = 0;
  /// Serialise a failure where it is a message of its own; where the call's
  /// status says it, there is no message.
  [[nodiscard]] virtual grpc::ByteBuffer SerializeError(
      const grpc::Status& /*status*/) const {
    return {};
  }
};

}  // namespace attention
