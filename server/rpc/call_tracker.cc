// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/call_tracker.h"

namespace attention {

CallTracker::Token::Token(CallTracker& tracker) : tracker_(tracker) {
  const std::lock_guard lock(tracker_.mutex_);
  ++tracker_.num_calls_;
}

CallTracker::Token::~Token() {
  // Notified under the lock: the tracker may go as soon as it is idle.
  const std::lock_guard lock(tracker_.mutex_);
  if (--tracker_.num_calls_ == 0) tracker_.idle_.notify_all();
}

bool CallTracker::WaitIdle(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, at_most, [this] { return num_calls_ == 0; });
}

}  // namespace attention
