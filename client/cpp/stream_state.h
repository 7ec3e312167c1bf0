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
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/connection.h"
#include "client/cpp/forward_stream.h"

namespace attention {

/// A stream's requests, and the calls that carry them, one after the other.
///
/// There is a call while requests are unanswered, and until it ends. Callers
/// submit; gRPC's threads write, read and tell the end. All of them lock; under
/// the lock nobody is told an answer, and no memory of a caller's is let go of
/// but by gRPC, which may free what other calls of the channel are done with.
/// Shared with the call, which may be the last to leave: gRPC ends a cancelled
/// one no sooner than the peer has taken what was being written. Thread-safe.
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
  /// Cancel what is unanswered, and wait until every `done` has returned, but
  /// for those that this is called within.
  void Close();

 private:
  class Call;
  class Telling;
  static constexpr char kCancelledText[] = "the stream was cancelled";
  enum class Phase : std::uint8_t { kOpen, kFinishing, kCancelled };
  struct Request {
    grpc::ByteBuffer message;
    Done done;
  };
  using Requests = std::map<std::uint64_t, Request>;  // by id, from 1 on
  struct Answer {
    Requests::node_type request;
    absl::StatusOr<ForwardReply> reply;
  };
  using Answers = std::vector<Answer>;

  // What a call tells.
  void Written(bool ok);
  void Received(const grpc::ByteBuffer& message);
  void ReadsEnded();
  void Ended(const grpc::Status& status);

  // Give answers, which num_telling_ counts, to their requests.
  void Tell(std::span<Answer> answers) noexcept;
  void Told();

  // With the lock held.
  [[nodiscard]] absl::Status Add(const PreparedForward& request, Done& done);
  void Open(std::unique_ptr<Call> call);
  void Write();
  [[nodiscard]] absl::Status Take(std::uint64_t id, Answer& answer);
  [[nodiscard]] Answers TakeFailed(const grpc::Status& status);
  [[nodiscard]] Answers TakeAll(const absl::Status& why);
  // If the call has ended for a message that was too long for the server, those
  // that are: an answer too long for the client leaves none.
  [[nodiscard]] Answers TakeLonger(const grpc::Status& status);
  [[nodiscard]] absl::Status WhyEnded(const grpc::Status& status) const;
  [[nodiscard]] absl::Status TooLong(std::size_t num_bytes) const;

  const std::shared_ptr<const AttentionClient::Connection> connection_;
  const StreamOptions options_;
  const std::chrono::system_clock::time_point opened_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  Phase phase_ = Phase::kOpen;
  std::uint64_t last_id_ = 0;  // the server has 0 for what it cannot parse
  Requests unanswered_;
  std::unique_ptr<Call> call_;
  std::size_t num_telling_ = 0;  // taken from unanswered_, and not told yet
  std::size_t num_within_ = 0;   // of these, those that Close is called within
  int num_fruitless_ = 0;        // calls in a row that brought no answer
  absl::Status fault_;           // what is wrong with the server's answers
  // Longest message the server takes, as far as it has told.
  std::size_t limit_ = std::numeric_limits<std::int32_t>::max();
};

}  // namespace attention
