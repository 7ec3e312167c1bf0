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

/// Serialise a response as it is. Tensor elements are not copied: the bytes
/// share ownership of the answer. Thread-safe.
[[nodiscard]] grpc::ByteBuffer SerializeAnswer(
    const std::shared_ptr<const v1::ForwardResponse>& answer);

/// Serialise as the ForwardStreamResponse of a request, likewise.
[[nodiscard]] grpc::ByteBuffer SerializeStreamAnswer(
    std::uint64_t id, const std::shared_ptr<const v1::ForwardResponse>& answer);

}  // namespace attention
