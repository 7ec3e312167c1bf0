// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/status_text.h"

#include "absl/strings/cord.h"
#include "core/tensor/format_text.h"

namespace attention {

absl::Status AnnotateStatus(std::string_view where,
                            const absl::Status& status) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         FormatText("{}: {}", where, StatusText(status)));
  status.ForEachPayload(
      [&annotated](absl::string_view type, const absl::Cord& payload) {
        annotated.SetPayload(type, payload);
      });
  return annotated;
}

}  // namespace attention
