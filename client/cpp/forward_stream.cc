// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/forward_stream.h"

#include <utility>

#include "client/cpp/attention_client.h"
#include "client/cpp/stream_state.h"
#include "core/tensor/catch_bad_alloc.h"

namespace attention {
namespace {

using Result = absl::StatusOr<ForwardResult>;

// Gives a future what `decode` makes of the reply.
template <typename Decode>
std::pair<std::future<Result>, ForwardStream::Done> Promise(Decode decode) {
  const auto promise = std::make_shared<std::promise<Result>>();
  return {promise->get_future(),
          [promise, decode](const absl::StatusOr<ForwardReply>& reply) {
            promise->set_value(CatchBadAlloc([&]() -> Result {
              if (!reply.ok()) return reply.status();
              return decode(*reply);
            }));
          }};
}

}  // namespace

ForwardStream::ForwardStream(std::shared_ptr<State> state)
    : state_(std::move(state)) {}

ForwardStream::~ForwardStream() {
  if (state_ != nullptr) state_->Close();
}

// An answer given meanwhile may destroy the stream.
void ForwardStream::Submit(const PreparedForward& request, Done done) {
  const std::shared_ptr<State> state = state_;
  state->Submit(request, std::move(done));
}

std::future<Result> ForwardStream::Submit(const PreparedForward& request) {
  auto [future, done] =
      Promise([](const ForwardReply& reply) { return reply.Decode(); });
  Submit(request, std::move(done));
  return std::move(future);
}

std::future<Result> ForwardStream::SubmitInto(const PreparedForward& request,
                                              const AttentionOutputs& outputs) {
  auto [future, done] = Promise([outputs](const ForwardReply& reply) {
    return reply.DecodeInto(outputs);
  });
  Submit(request, std::move(done));
  return std::move(future);
}

std::size_t ForwardStream::num_unanswered() const {
  return state_->num_unanswered();
}

// An answer given meanwhile may destroy the stream.
void ForwardStream::Finish() {
  const std::shared_ptr<State> state = state_;
  state->Finish();
}

// An answer given meanwhile may destroy the stream.
void ForwardStream::Cancel() {
  const std::shared_ptr<State> state = state_;
  state->Cancel();
}

ForwardStream AttentionClient::OpenStream(const StreamOptions& options) const {
  return ForwardStream(
      std::make_shared<ForwardStream::State>(connection_, options));
}

}  // namespace attention
