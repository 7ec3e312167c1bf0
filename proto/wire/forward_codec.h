// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/statusor.h"
#include "attention/v1/attention_service.pb.h"
#include "core/attention/request.h"

namespace attention {

/// View a request message as inputs; absent fields take the proto's defaults.
///
/// Checks each field alone (dtypes, shapes against data, enum values); whether
/// they fit the module is ResolveRequest's to say.
/// \return INVALID_ARGUMENT naming the field.
/// Lifetime: the inputs borrow from `message`. Thread-safe.
[[nodiscard]] absl::StatusOr<AttentionInputs> DecodeForwardRequest(
    const v1::ForwardRequest& message);

/// Build the message a client sends for these inputs, copying the tensors.
[[nodiscard]] v1::ForwardRequest EncodeForwardRequest(
    std::string_view module, const AttentionInputs& inputs);

/// Make room for the outputs inside the response's own bytes.
/// Lifetime: the outputs borrow from `message`.
[[nodiscard]] AttentionOutputs AllocateOutputs(const OutputShapes& shapes,
                                               DataType dtype,
                                               v1::ForwardResponse* message);

}  // namespace attention
