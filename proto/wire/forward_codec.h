// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "attention/v1/attention_service.pb.h"
#include "core/attention/request.h"

namespace attention {

/// The fields of a ForwardRequest that are tensors.
inline constexpr std::array<int, 6> kForwardTensorFields = {
    v1::ForwardRequest::kQueryFieldNumber,
    v1::ForwardRequest::kKeyFieldNumber,
    v1::ForwardRequest::kValueFieldNumber,
    v1::ForwardRequest::kAttnMaskFieldNumber,
    v1::ForwardRequest::kKeyPaddingMaskFieldNumber,
    v1::ForwardRequest::kValidLensFieldNumber};
inline constexpr std::size_t kNumForwardTensors = kForwardTensorFields.size();

/// The elements of these tensors, in this order. Never owns.
using ForwardElements =
    std::array<std::span<const std::byte>, kNumForwardTensors>;

/// The tensors of a request's inputs, in this order; null: absent.
[[nodiscard]] std::array<const TensorView*, kNumForwardTensors> TensorsOf(
    const AttentionInputs& inputs);

/// The elements a message holds itself.
[[nodiscard]] ForwardElements ElementsOf(const v1::ForwardRequest& message);

/// View a request message as inputs; absent fields take the proto's defaults.
///
/// Checks each field alone (dtypes, shapes against data, enum values); whether
/// they fit the module is ResolveRequest's to say.
/// \param elements stand for the data of the message's tensors.
/// \return INVALID_ARGUMENT naming the field.
/// Lifetime: the inputs borrow the elements. Thread-safe.
[[nodiscard]] absl::StatusOr<AttentionInputs> DecodeForwardRequest(
    const v1::ForwardRequest& message, const ForwardElements& elements);
/// The same of a message that holds its elements itself.
[[nodiscard]] absl::StatusOr<AttentionInputs> DecodeForwardRequest(
    const v1::ForwardRequest& message);

/// Build the message a client sends for these inputs, but its tensors.
[[nodiscard]] v1::ForwardRequest EncodeForwardFields(
    std::string_view module, const AttentionInputs& inputs);
/// Build the whole message, copying the tensors.
[[nodiscard]] v1::ForwardRequest EncodeForwardRequest(
    std::string_view module, const AttentionInputs& inputs);

}  // namespace attention
