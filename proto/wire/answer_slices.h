// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "attention/v1/attention_service.pb.h"
#include "core/attention/request.h"

namespace attention {

/// Return the bytes a response with outputs of these shapes will take, its
/// other fields (at most, and stream envelope included) too.
[[nodiscard]] std::size_t AnswerBytes(const OutputShapes& shapes,
                                      DataType dtype);

/// A response whose tensors' elements lie elsewhere.
struct ForwardAnswer {
  const v1::ForwardResponse& fields;  ///< all but output and weights
  AttentionOutputs outputs;
  std::shared_ptr<const void> owner;  ///< of the elements
};

/// Serialise an answer. Elements of tensors beyond 4 KiB are not copied: the
/// bytes share their ownership. Thread-safe.
[[nodiscard]] grpc::ByteBuffer SerializeAnswer(const ForwardAnswer& answer);

/// Serialise as the ForwardStreamResponse of a request, likewise.
[[nodiscard]] grpc::ByteBuffer SerializeStreamAnswer(
    std::uint64_t id, const ForwardAnswer& answer);

}  // namespace attention
