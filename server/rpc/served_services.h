// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/descriptor.h>

#include <vector>

namespace attention {

/// The services of every listener. Thread-safe.
[[nodiscard]] const std::vector<const google::protobuf::ServiceDescriptor*>&
ServedServices();

}  // namespace attention
