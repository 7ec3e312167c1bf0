// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/message.h>

#include <string_view>

#include "absl/status/status.h"

namespace attention {

/// Parse a message's own JSON mapping, strictly.
/// \return INVALID_ARGUMENT naming the message's type when the text is no JSON,
///   has an unknown field or a value that does not fit. Thread-safe.
/// Source: protobuf.dev, "ProtoJSON Format".
[[nodiscard]] absl::Status ParseJson(std::string_view json,
                                     google::protobuf::Message* message);

}  // namespace attention
