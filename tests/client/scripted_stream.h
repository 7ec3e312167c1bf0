// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "attention/v1/attention_service.grpc.pb.h"
#include "client/cpp/attention_client.h"

namespace attention {

using ServerStream = grpc::ServerReaderWriter<v1::ForwardStreamResponse,
                                              v1::ForwardStreamRequest>;

/// Ends calls of ForwardStream as `script` says, which is told the number of
/// the call from 1.
class ScriptedService final : public v1::AttentionService::Service {
 public:
  grpc::Status ForwardStream(grpc::ServerContext* /*context*/,
                             ServerStream* stream) override {
    return script(++num_calls, *stream);
  }

  std::function<grpc::Status(int number, ServerStream& stream)> script;
  std::atomic<int> num_calls = 0;
};

/// What a server says that ends a call.
inline const grpc::Status kEnded = {grpc::StatusCode::UNAVAILABLE,
                                    "open a new one"};

/// Read a request. \return its id, or 0 at the end.
std::uint64_t Read(ServerStream& stream);

/// Read a request and answer it with its query. \return false at the end.
bool Echo(ServerStream& stream);

/// A client of a scripted service, over a socket.
class ScriptedStreamTest : public ::testing::Test {
 protected:
  ScriptedStreamTest();

  ForwardStream Open() { return client_->OpenStream(); }

  ScriptedService service_;
  std::unique_ptr<grpc::Server> server_;
  absl::StatusOr<AttentionClient> client_;
};

/// A request whose query is of a seed's numbers, [2, 4] float32.
PreparedForward MakeSeededRequest(std::uint64_t seed);

/// Whether a result is that query.
bool IsAnswerTo(std::uint64_t seed,
                const absl::StatusOr<ForwardResult>& result);

}  // namespace attention
