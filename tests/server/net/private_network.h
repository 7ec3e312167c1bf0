// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace attention::testing {

/// Call `body` on a thread that has a network of its own, which is loopback.
/// \return false, without a call, where the process may not make one.
[[nodiscard]] bool RunInPrivateNetwork(const std::function<void()>& body);

}  // namespace attention::testing
