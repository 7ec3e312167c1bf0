// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <format>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace attention {

/// View a status's text; Abseil's string_view is a type of its own.
[[nodiscard]] inline std::string_view StatusText(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

/// Put "<where>: " before a failed status's text; payloads are kept.
[[nodiscard]] inline absl::Status AnnotateStatus(std::string_view where,
                                                 const absl::Status& status) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         std::format("{}: {}", where, StatusText(status)));
  status.ForEachPayload(
      [&annotated](absl::string_view type, const absl::Cord& payload) {
        annotated.SetPayload(type, payload);
      });
  return annotated;
}

}  // namespace attention
