// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/v1/attention_service.pb.h"
#include "core/attention/request.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Serialise the message a client sends for these inputs. Elements of tensors
/// beyond 4 KiB are not copied: they live as long as `owner`, which the bytes
/// share.
[[nodiscard]] grpc::ByteBuffer SerializeForwardRequest(
    std::string_view module, const AttentionInputs& inputs,
    const std::shared_ptr<const void>& owner);

/// An answer as it was parsed, and its elements. Immutable.
struct ParsedAnswer {
  v1::ForwardResponse fields;  ///< all but its tensors' elements
  AlignedBuffer memory;        ///< of the elements, unless they went elsewhere
  TensorView output;
  std::optional<TensorView> weights;
};

/// Parse a ForwardResponse, copying its elements once: into memory of the
/// answer's own or, with `into`, there.
/// \return INTERNAL when the message is malformed, INVALID_ARGUMENT when
///   `into` is not what the answer has, in shape, dtype, or having weights:
///   nothing is written there then.
[[nodiscard]] absl::StatusOr<std::shared_ptr<const ParsedAnswer>> ParseAnswer(
    const grpc::ByteBuffer& message, const AttentionOutputs* into = nullptr);

}  // namespace attention
