// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "attention/v1/attention_service.pb.h"
#include "core/tensor/buffer_pool.h"
#include "proto/wire/answer_slices.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/forward_outline.h"
#include "server/rpc/request_codec.h"

namespace attention {

/// attention.v1: a ForwardRequest, whose elements are copied once, into memory
/// that is used again, answered by a ForwardResponse, whose elements leave
/// without being copied.
///
/// Fields beside tensor elements are bounded: protobuf keeps a byte of them in
/// up to forty, so that a message within the message limit could exhaust
/// memory.
class AttentionCodec : public RequestCodec {
 public:
  /// \param buffers is borrowed until the request is parsed and the outputs
  ///   are allocated.
  explicit AttentionCodec(BufferPool& buffers) : buffers_(buffers) {}

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
  void FreeRequest() final;
  [[nodiscard]] grpc::ByteBuffer Serialize(
      const CallRecord& call, const std::shared_ptr<const void>& self) override;

  /// The request without elements, empty before Parse. Not to be called after
  /// FreeRequest.
  [[nodiscard]] const v1::ForwardRequest& request() const { return *request_; }

 protected:
  /// Take over a request, or an empty one for null, and copy its elements.
  /// \return the memory both take.
  [[nodiscard]] std::size_t SetRequest(
      std::unique_ptr<v1::ForwardRequest> request,
      const ForwardOutline& outline, grpc::ByteBuffer* message);
  /// Write down what was measured. \return the answer, sharing `self`.
  [[nodiscard]] ForwardAnswer Finish(const CallRecord& call,
                                     const std::shared_ptr<const void>& self);

 private:
  MutableTensorView Allocate(const Shape& shape, DataType dtype,
                             BufferPool::Buffer* to);

  BufferPool& buffers_;
  std::unique_ptr<v1::ForwardRequest> request_ =
      std::make_unique<v1::ForwardRequest>();
  BufferPool::Buffer element_memory_;
  ForwardElements elements_;
  v1::ForwardResponse response_;  // all but its tensors
  BufferPool::Buffer output_memory_;
  BufferPool::Buffer weights_memory_;
  AttentionOutputs outputs_;
};

/// The same in the envelopes of a ForwardStream, where failures are messages.
class AttentionStreamCodec final : public AttentionCodec {
 public:
  using AttentionCodec::AttentionCodec;

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
