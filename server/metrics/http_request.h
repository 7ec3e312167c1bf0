// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace attention {

/// Writes the page that is asked for. Throws std::bad_alloc at most.
using PageWriter = std::function<std::string()>;

/// Longest head of a request: its first line and its headers.
inline constexpr std::size_t kMaxHttpHeadBytes = 8192;

/// Answer the beginning of an HTTP/1 request: GET /metrics, with or without a
/// query, with the page, everything else with an error that says what is
/// expected. The connection is to be closed behind the answer.
/// \param received what has come so far.
/// \return the answer; nothing while the head has not come whole and may.
/// Thread-safe.
[[nodiscard]] std::optional<std::string> AnswerHttp(std::string_view received,
                                                    const PageWriter& page);

}  // namespace attention
