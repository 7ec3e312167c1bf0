// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace attention {

/// Connections are asked to close at this age, more or less a tenth, and have
/// the grace to finish what is on them.
inline constexpr std::chrono::minutes kMaxConnectionAge{5};
inline constexpr std::chrono::minutes kMaxConnectionAgeGrace{5};

/// How long clients may take; no options, but tests set them.
struct ServerTimeouts {
  /// From one message of an upload to the next.
  std::chrono::milliseconds upload_idle = std::chrono::seconds(30);
  /// Age at which a ForwardStream reads no more. No stream is opened on a
  /// connection that was asked to close, so one that ends within the grace is
  /// never cut; half a minute of it is for answering what was read.
  std::chrono::milliseconds stream_age =
      kMaxConnectionAgeGrace - std::chrono::seconds(30);
  /// How long answers wait for callers who take none (AnswerWatch): while
  /// memory is short, and at other times.
  std::chrono::milliseconds unread_answer_busy = std::chrono::seconds(5);
  std::chrono::milliseconds unread_answer = std::chrono::seconds(30);
};

}  // namespace attention
