// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <spdlog/formatter.h>

#include <memory>
#include <string>

namespace attention {

/// Send the log to stderr, one line an event.
///
/// \param level "debug", "info", "warning", "error" or "off".
/// \param format "text": `2026-01-31T12:00:00.000Z info listening on …`, or
///   "json": an object with the fields time, level and message.
/// The logs of gRPC and protobuf are included from debug on.
void SetUpLogging(const std::string& level, const std::string& format);

/// From now on, log what gRPC calls an error as a warning. Before a server
/// listens, what gRPC has to say is in the server's own error.
void LogGrpcErrors();

/// Make the formatter for a format of SetUpLogging. Control characters are
/// escaped, so that no text from outside can forge a line.
[[nodiscard]] std::unique_ptr<spdlog::formatter> MakeLogFormatter(
    const std::string& format);

}  // namespace attention
