// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/connection.h"
#include "client/cpp/forward_stream.h"

namespace attention {

/// A stream's requests, and the calls that carry them, one after the other.
///
/// There is a call while requests are unanswered, and until it ends. Callers
/// submit; gRPC's threads write, read and tell the end. All of them lock, and
/// nobody is told an answer under the lock. Shared with the call, which is the
/// last to leave where it was cancelled: gRPC ends one no sooner than the peer
/// has taken what was being written. Thread-safe.
class ForwardStream::State : public std::enable_shared_from_this<State> {
 public:
  State(std::shared_ptr<const AttentionClient::Connection> connection,
        const StreamOptions& options);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void Submit(const PreparedForward& request, Done done);
  [[nodiscard]] std::size_t num_unanswered() const;
  void Finish();
  void Cancel();
  /// Wait until every `done` has returned.
  void WaitUntilTold();

 private:
  class Call;
  enum class Phase : std::uint8_t { kOpen, kFinishing, kCancelled };
  struct Request {
    grpc::ByteBuffer message;
    Done done;
  };
  using Failures = std::vector<std::pair<Done, absl::Status>>;

  // What a call tells.
  void Written(bool ok);
  void Received(const grpc::ByteBuffer& message);
  void ReadsEnded();
  void Ended(const grpc::Status& status);

  void Tell(Done done, absl::StatusOr<ForwardReply> reply);
  void TellAll(Failures failures);

  // With the lock held.
  [[nodiscard]] absl::Status Add(const PreparedForward& request, Done& done);
  void Open();
  void Write();
  [[nodiscard]] absl::Status TakeDone(std::uint64_t id, Done& done);
  [[nodiscard]] Failures TakeFailed(const grpc::Status& status);
  [[nodiscard]] Failures TakeAll(const absl::Status& why);
  [[nodiscard]] Failures TakeLongerThanLimit();
  [[nodiscard]] absl::Status WhyEnded(const grpc::Status& status) const;
  [[nodiscard]] absl::Status TooLong(const Request& request) const;
  [[nodiscard]] bool LearnLimit(const grpc::Status& status);

  const std::shared_ptr<const AttentionClient::Connection> connection_;
  const StreamOptions options_;
  const std::chrono::system_clock::time_point opened_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  Phase phase_ = Phase::kOpen;
  std::uint64_t last_id_ = 0;  // the server has 0 for what it cannot parse
  std::map<std::uint64_t, Request> unanswered_;
  std::unique_ptr<Call> call_;
  std::size_t num_telling_ = 0;  // taken from unanswered_, and not told yet
  int num_fruitless_ = 0;        // calls in a row that brought no answer
  absl::Status fault_;           // what is wrong with the server's answers
  // Longest message the server takes, as far as it has told.
  std::size_t limit_ = std::numeric_limits<std::int32_t>::max();
};

}  // namespace attention
