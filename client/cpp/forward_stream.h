// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "client/cpp/forward_result.h"
#include "core/attention/request.h"

namespace attention {

/// How a stream waits.
struct StreamOptions {
  /// Time the stream may take in all, from OpenStream; unset: no limit. What is
  /// unanswered then, or submitted later, fails with DEADLINE_EXCEEDED.
  /// ClientOptions::timeout does not apply.
  std::optional<std::chrono::milliseconds> timeout;
};

/// Many requests in flight on one stream; made by AttentionClient::OpenStream.
///
/// Answers come as they complete, in any order, each to its own request. A
/// request that fails does so alone: with what the server says of it, or with
/// RESOURCE_EXHAUSTED where it is longer than the server takes.
///
/// The server reads while fewer than 64 requests, and 64 MiB of them, are
/// unanswered; the others wait here, so submitting never blocks. A caller that
/// is faster than the server has to hold itself back, as with a window of
/// futures, or by num_unanswered().
///
/// The stream outlives the call that carries it: a server ends one after some
/// minutes, and when it shuts down. What is unanswered is then sent again over
/// a new call. If two calls in a row end with UNAVAILABLE without an answer, or
/// one ends otherwise, all that is unanswered fails with what that one says; a
/// later request begins a new call.
///
/// Errors are those of AttentionClient::Forward; also FAILED_PRECONDITION for a
/// request that comes after Finish, CANCELLED after Cancel.
///
/// Performance: small requests cost a little less than calls of their own (of
/// one token, 64 at once, on two cores: 7 %). They are sent from where
/// PreparedForward has them, without a copy; what owns that memory
/// (AttentionClient::Prepare) may be destroyed within any call of a stream, and
/// must use none.
///
/// Thread Safety: Thread-safe. `done` is called exactly once for each request,
/// by a thread of gRPC, within Submit where the request is refused at once, or
/// within Cancel or the destructor. It must neither block nor throw. It may
/// submit, cancel, finish and destroy the stream.
class ForwardStream {
 public:
  using Done = std::function<void(absl::StatusOr<ForwardReply>)>;

  /// A stream that was moved from can only be destroyed.
  ForwardStream(ForwardStream&&) noexcept = default;
  ForwardStream& operator=(ForwardStream&&) = delete;
  ForwardStream(const ForwardStream&) = delete;
  ForwardStream& operator=(const ForwardStream&) = delete;
  /// Cancel what is unanswered, and wait until every `done` has returned, but
  /// for the one that this is called within, if so.
  ~ForwardStream();

  /// Send a request and have its answer given to `done`.
  void Submit(const PreparedForward& request, Done done);

  /// Send a request; its answer, decoded, is in the future.
  [[nodiscard]] std::future<absl::StatusOr<ForwardResult>> Submit(
      const PreparedForward& request);

  /// The same with the answer's elements in memory of the caller's.
  /// \param outputs lives until the future is ready; is written by then, or not
  ///   at all when that has an error; as for AttentionClient::ForwardInto.
  [[nodiscard]] std::future<absl::StatusOr<ForwardResult>> SubmitInto(
      const PreparedForward& request, const AttentionOutputs& outputs);

  /// Requests that are not answered yet.
  [[nodiscard]] std::size_t num_unanswered() const;

  /// Take no more requests, and wait until all are answered; within a `done` do
  /// not wait.
  void Finish();

  /// Take no more requests; those unanswered fail with CANCELLED.
  void Cancel();

 private:
  friend class AttentionClient;
  class State;

  explicit ForwardStream(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;  // null: moved from
};

}  // namespace attention
