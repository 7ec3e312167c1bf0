// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "attention/v1/attention_service.pb.h"
#include "core/attention/request.h"
#include "core/serving/admission_controller.h"

namespace attention {

/// An answer, and the memory budget it takes until it has left the process.
struct ForwardAnswer {
  v1::ForwardResponse response;
  AdmissionController::Reservation reservation;
};

/// Return the bytes a response with outputs of these shapes will take, its
/// other fields (at most, and stream envelope included) too.
[[nodiscard]] std::size_t AnswerBytes(const OutputShapes& shapes,
                                      DataType dtype);

/// Serialise as a ForwardResponse. Tensor elements are not copied: the bytes
/// share ownership of the answer.
[[nodiscard]] grpc::ByteBuffer SerializeAnswer(
    const std::shared_ptr<const ForwardAnswer>& answer);

/// Serialise as a ForwardStreamResponse, likewise.
[[nodiscard]] grpc::ByteBuffer SerializeStreamAnswer(
    std::uint64_t id, const std::shared_ptr<const ForwardAnswer>& answer);

}  // namespace attention
