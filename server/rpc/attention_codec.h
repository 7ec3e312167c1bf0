// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "attention/v1/attention_service.pb.h"
#include "server/rpc/request_codec.h"

namespace attention {

/// attention.v1: a ForwardRequest, answered by a ForwardResponse whose elements
/// leave without being copied.
///
/// Fields beside tensor elements are bounded: protobuf keeps a byte of them in
/// up to forty, so that a message within the message limit could exhaust
/// memory.
class AttentionCodec : public RequestCodec {
 public:
  [[nodiscard]] absl::StatusOr<std::size_t> ParsingBytes(
      grpc::ByteBuffer* message) override;
  [[nodiscard]] absl::StatusOr<std::size_t> Parse(
      grpc::ByteBuffer* message) override;
  [[nodiscard]] std::string_view module() const final {
    return request_->module();
  }
  [[nodiscard]] absl::StatusOr<AttentionInputs> Decode() const final;
  [[nodiscard]] std::size_t AnswerBytes(const OutputShapes& shapes,
                                        DataType dtype) const final;
  [[nodiscard]] AttentionOutputs AllocateOutputs(const OutputShapes& shapes,
                                                 DataType dtype) final;
  void FreeRequest() final { request_.reset(); }
  [[nodiscard]] grpc::ByteBuffer Serialize(
      const CallRecord& call, const std::shared_ptr<const void>& self) override;

  /// The request, empty before Parse. Not to be called after FreeRequest.
  [[nodiscard]] const v1::ForwardRequest& request() const { return *request_; }

 protected:
  /// Take over a request, or an empty one for null.
  void SetRequest(std::unique_ptr<v1::ForwardRequest> request);
  /// Write down what was measured. \return the response, sharing `self`.
  [[nodiscard]] std::shared_ptr<const v1::ForwardResponse> Finish(
      const CallRecord& call, const std::shared_ptr<const void>& self);

 private:
  std::unique_ptr<v1::ForwardRequest> request_ =
      std::make_unique<v1::ForwardRequest>();
  v1::ForwardResponse response_;
};

/// The same in the envelopes of a ForwardStream, where failures are messages.
class AttentionStreamCodec final : public AttentionCodec {
 public:
  [[nodiscard]] absl::StatusOr<std::size_t> ParsingBytes(
      grpc::ByteBuffer* message) override;
  [[nodiscard]] absl::StatusOr<std::size_t> Parse(
      grpc::ByteBuffer* message) override;
  [[nodiscard]] grpc::ByteBuffer Serialize(
      const CallRecord& call, const std::shared_ptr<const void>& self) override;
  [[nodiscard]] grpc::ByteBuffer SerializeError(
      const grpc::Status& status) const override;

  /// Id of the request: from ParsingBytes on, so that a refused one can be
  /// answered; 0 when the message cannot be parsed.
  [[nodiscard]] std::uint64_t id() const { return id_; }

 private:
  std::uint64_t id_ = 0;
};

}  // namespace attention
